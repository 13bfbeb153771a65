"""Metrics that come with Retalkit."""
