"""Comparison of stage variants: the comparison file, its videos and scores, statistics, and the report."""
