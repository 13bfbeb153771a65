"""Expression editors: give the face one canonical expression."""
