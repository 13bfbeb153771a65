"""Recorded training runs of the documentation."""
