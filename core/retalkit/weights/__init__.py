"""Checkpoints: what a plugin declares of them, where they are kept, and how their files are read safely."""
