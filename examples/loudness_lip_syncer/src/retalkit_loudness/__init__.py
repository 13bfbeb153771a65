"""A Retalkit plugin that opens the mouth in proportion to the loudness of the speech."""
