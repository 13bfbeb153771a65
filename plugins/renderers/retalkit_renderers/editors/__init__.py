"""Expression editors, which change every face to one canonical expression."""
