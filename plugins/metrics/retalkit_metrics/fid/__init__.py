"""Fréchet Inception distance (FID) between the output's faces and the original's faces."""
