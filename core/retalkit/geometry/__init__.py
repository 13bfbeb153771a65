"""Landmark schemes, head pose, face crops, scene cuts and face tracking. No network and no face library."""
