"""Templates of plugin packages, for ``retalkit new-plugin``."""
