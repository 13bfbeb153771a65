"""Decoding, encoding and muxing of video and audio with exact timestamps. Uses PyAV, whose wheel contains FFmpeg."""
