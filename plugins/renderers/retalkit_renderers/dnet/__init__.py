"""Expression editor ``dnet``, based on VideoReTalking's published D-Net (semantic-guided reenactment network)."""
