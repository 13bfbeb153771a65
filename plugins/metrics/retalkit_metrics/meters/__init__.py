"""Measurements on landmarks and pixels that several metrics share."""
