"""Checkpoint declarations, the local checkpoint store, downloads and safe deserialisation of published files."""
