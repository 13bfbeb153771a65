"""The drivers ``model`` and ``bands``: mouth motion from speech."""
