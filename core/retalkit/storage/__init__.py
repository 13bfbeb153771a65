"""Persistent storage: a content-keyed cache, per-frame results and binary array files."""
