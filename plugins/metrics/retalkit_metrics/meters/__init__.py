"""Landmark and pixel measurements shared by several metrics and benchmarks."""
