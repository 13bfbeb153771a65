"""Renderers: expression editors, lip syncers and speech-to-mouth drivers."""
