"""Expression editor ``dnet``: the published D-Net (semantic-guided reenactment network) of VideoReTalking."""
