"""Compositing of edits into frames, and blending that hides the border of an edit."""
