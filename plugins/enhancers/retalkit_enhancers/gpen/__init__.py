"""Enhancer ``gpen``: face restoration with a generative prior."""
