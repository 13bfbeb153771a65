"""Measures of what a run did to a video, and of how well its lips follow what was asked."""
