"""Face-restoration checkpoints that the package ``spandrel`` supports, as a stage."""
