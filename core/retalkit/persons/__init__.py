"""Persons in a video: selection by position, index, image or id, and recognition by appearance."""
