"""Face parsing: segmentation of an aligned face into skin, lips, hair and other classes."""
