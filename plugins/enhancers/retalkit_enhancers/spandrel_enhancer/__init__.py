"""Checkpoints of faces' restoration that the package ``spandrel`` knows, run as a stage."""
