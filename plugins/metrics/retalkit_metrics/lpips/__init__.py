"""LPIPS: how different two pictures look."""
