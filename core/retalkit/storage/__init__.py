"""Persistent storage: the content-keyed cache, per-frame results and binary array files."""
