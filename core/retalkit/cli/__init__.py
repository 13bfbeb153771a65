"""Command-line interface. No module outside this package imports it except ``retalkit.__main__``."""
