"""Command-line interface. No other Retalkit package imports this package."""
