"""Fréchet Inception distance (FID) between the faces of a video and those of the original."""
