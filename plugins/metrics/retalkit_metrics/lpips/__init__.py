"""LPIPS, a learned perceptual distance between two images."""
