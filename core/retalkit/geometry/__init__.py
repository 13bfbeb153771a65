"""Landmark schemes, head pose, smoothing and tracks. Numpy and scipy only."""
