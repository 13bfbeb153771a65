"""Compares stage variants: which cells there are, computing them, what the numbers say, and the report."""
