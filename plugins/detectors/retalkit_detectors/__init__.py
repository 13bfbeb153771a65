"""Bundled face detectors."""
