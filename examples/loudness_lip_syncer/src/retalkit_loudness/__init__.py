"""Opens the mouth as far as the speech is loud: a plugin for Retalkit."""
