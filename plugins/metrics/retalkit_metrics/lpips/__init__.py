"""LPIPS: learned perceptual distance of two images."""
