"""Enhancers bundled with Retalkit."""
