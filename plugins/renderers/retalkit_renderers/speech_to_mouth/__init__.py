"""Drivers ``model`` and ``bands``, which predict mouth motion from speech."""
