"""Compositing of edits into frames, and blending to hide edit borders."""
