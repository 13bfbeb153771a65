"""Face parsing, which segments an aligned face into skin, lips, hair and other classes."""
