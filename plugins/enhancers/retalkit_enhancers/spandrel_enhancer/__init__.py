"""Enhancer ``spandrel`` for face restoration checkpoints that the package ``spandrel`` supports."""
