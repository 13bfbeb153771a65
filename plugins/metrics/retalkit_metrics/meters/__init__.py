"""Measurements on landmarks and pixels, shared by several metrics and benchmarks."""
