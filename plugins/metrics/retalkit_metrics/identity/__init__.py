"""Similarity of the person's identity, measured by a face recognition network."""
