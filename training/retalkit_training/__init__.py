"""Training of Retalkit's networks: network definitions, losses and trainers. Requires ``retalkit[train]``."""
