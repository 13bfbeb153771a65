"""Audio-visual synchrony measured by SyncNet."""
