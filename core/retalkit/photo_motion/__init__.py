"""Gentle head motion and blinks for still images. The motion follows the speech and is applied after lip sync."""
