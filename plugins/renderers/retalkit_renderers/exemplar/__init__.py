"""Lip syncer ``exemplar``, which warps mouth images of the same person onto each frame without a generative network."""
