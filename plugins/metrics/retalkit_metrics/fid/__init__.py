"""Fréchet Inception distance (FID) between output faces and original faces."""
