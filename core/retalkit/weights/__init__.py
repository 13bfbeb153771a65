"""Checkpoints: their declarations, the local store, downloads, and safe reading of published files."""
