"""Enhancer ``gfpgan``, which restores faces with a generative prior."""
