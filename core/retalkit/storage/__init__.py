"""Files between runs: the content-keyed cache, stored frames and raw row files."""
