"""Checks for each stage kind and for metrics."""
