"""The command line. Nothing else of Retalkit knows it."""
