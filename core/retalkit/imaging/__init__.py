"""Compositing of edits into frames, and blending that hides the borders of edits."""
