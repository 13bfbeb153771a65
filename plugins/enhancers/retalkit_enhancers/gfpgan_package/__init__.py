"""The published package ``gfpgan``, as a stage."""
