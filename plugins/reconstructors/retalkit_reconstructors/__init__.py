"""Reconstructors bundled with Retalkit."""
