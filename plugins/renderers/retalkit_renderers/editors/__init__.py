"""Expression editors: the face in one canonical expression."""
