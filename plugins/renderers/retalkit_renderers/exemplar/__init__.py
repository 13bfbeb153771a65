"""Lip syncer ``exemplar``: warps mouth images of the same person onto every frame, without a generative network."""
