"""Enhancer ``gpen``, which restores faces with a generative prior."""
