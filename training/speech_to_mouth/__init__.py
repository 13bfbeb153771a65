"""How the mouth network's weights are made: synthetic speech, mouth targets, training, export. See README.md."""
