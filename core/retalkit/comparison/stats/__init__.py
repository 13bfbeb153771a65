"""Statistics of a comparison: means, paired contrasts, confidence intervals, tests."""
