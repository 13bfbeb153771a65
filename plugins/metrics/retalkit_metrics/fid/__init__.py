"""FID: how far the faces of a video lie from those of the original."""
