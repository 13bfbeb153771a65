"""Drivers: what the mouth does while something is said."""
