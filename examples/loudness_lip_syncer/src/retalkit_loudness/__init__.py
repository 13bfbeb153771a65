"""Retalkit plugin with a lip syncer that opens the mouth in proportion to speech loudness."""
