"""Stage for face restoration checkpoints that the package ``spandrel`` supports."""
