"""Shared implementation of the enhancers that restore faces with 512 x 512 networks."""
