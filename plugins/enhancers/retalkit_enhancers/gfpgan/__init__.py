"""Enhancer ``gfpgan``: face restoration with a generative prior."""
