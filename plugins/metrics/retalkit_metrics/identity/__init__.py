"""Identity similarity, computed by a face recognition network."""
