"""Checks of each stage kind and of metrics."""
