"""Training of the speech-to-mouth network: synthetic speech, mouth targets, training loop, export. See README.md."""
