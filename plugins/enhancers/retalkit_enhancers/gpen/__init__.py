"""GPEN: restores a face with the prior of a generator of faces."""
