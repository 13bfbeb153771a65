"""Pixel operations on NumPy images: compositing and blending."""
