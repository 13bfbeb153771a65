"""Trainers of the networks: options, samples, losses and metrics of each."""
