"""Command-line interface. Outside this package, only ``retalkit.__main__`` imports its modules."""
