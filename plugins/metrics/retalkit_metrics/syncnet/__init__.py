"""Audio-visual synchrony, computed by SyncNet."""
