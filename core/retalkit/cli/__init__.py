"""Command-line interface. Among the other Retalkit modules, only ``retalkit.__main__`` imports this package."""
