"""Stage that runs the published package ``gfpgan``."""
