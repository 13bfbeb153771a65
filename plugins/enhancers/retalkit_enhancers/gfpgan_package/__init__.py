"""The published package ``gfpgan``, run as a stage."""
