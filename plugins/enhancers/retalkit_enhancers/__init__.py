"""Enhancers that come with Retalkit."""
