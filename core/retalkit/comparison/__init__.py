"""Comparison of stage variants: the comparison file, videos, scores, statistics, and the report."""
