"""Decoding, encoding and muxing of video and audio with exact timestamps. The package uses PyAV, whose wheel contains
FFmpeg."""
