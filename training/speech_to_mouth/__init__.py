"""Training of the speech-to-mouth network: synthetic speech, mouth targets, training loop and export (see
README.md).
"""
