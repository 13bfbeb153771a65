"""Version of Retalkit."""

__version__ = "0.1.0"
