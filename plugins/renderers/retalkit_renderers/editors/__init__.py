"""Expression editors, which change the face to one canonical expression."""
