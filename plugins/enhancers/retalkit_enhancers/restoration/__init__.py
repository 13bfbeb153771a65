"""Shared code of enhancers that restore a face with a network of 512 x 512 pixels."""
