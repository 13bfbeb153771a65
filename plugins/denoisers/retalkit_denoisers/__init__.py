"""Denoisers for the speech that drives the mouth motion."""
