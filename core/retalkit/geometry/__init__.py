"""Landmark schemes, head pose, face crops, scene-cut detection and face tracking.

The package uses no neural networks and no face libraries.
"""
