"""Enhancer ``gfpgan_package``, which runs the published package ``gfpgan``."""
