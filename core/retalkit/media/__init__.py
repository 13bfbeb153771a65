"""Frames in, frames out, sound and timestamps. Built on PyAV, whose wheel carries ffmpeg."""
