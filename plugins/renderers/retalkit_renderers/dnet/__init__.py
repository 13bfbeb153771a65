"""Expression editor ``dnet``: the published D-Net of VideoReTalking (semantic-guided reenactment network)."""
