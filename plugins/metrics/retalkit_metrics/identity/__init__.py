"""Identity similarity measured by a face recognition network."""
