"""Training loop: configuration, batches, checkpoints, logs, and training steps on one or several processes."""
