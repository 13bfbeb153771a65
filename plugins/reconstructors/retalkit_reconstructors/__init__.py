"""Reconstructors that ship with Retalkit."""
