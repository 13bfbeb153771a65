"""Cues: which person speaks which audio in which part of the video. Cues are data, and no module here edits frames."""
