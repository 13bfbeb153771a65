"""Statistics of a comparison: means, paired contrasts, intervals."""
