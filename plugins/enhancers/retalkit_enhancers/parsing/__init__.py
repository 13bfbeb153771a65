"""Face parsing: which pixel of an aligned face is skin, lip, hair."""
