"""Plugin package templates for ``retalkit new-plugin``."""
