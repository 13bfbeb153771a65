"""Makes plugin packages that work at once, for authors to change: names, templates, writing."""
