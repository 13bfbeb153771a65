"""Storage between runs: the content-keyed cache, per-frame results and row files."""
