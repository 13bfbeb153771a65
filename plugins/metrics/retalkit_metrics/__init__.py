"""Metrics bundled with Retalkit."""
