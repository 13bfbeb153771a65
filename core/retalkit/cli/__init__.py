"""Command-line interface. The only Retalkit module that imports the package is ``retalkit.__main__``."""
