"""Statistics of a comparison: means, paired contrasts, confidence intervals and hypothesis tests."""
