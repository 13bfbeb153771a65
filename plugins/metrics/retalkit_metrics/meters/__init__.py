"""Landmark and pixel measurements that several metrics and benchmarks share."""
