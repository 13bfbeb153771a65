"""Lip syncer ``lnet``: a network that generates the lower half of the face from speech and a reference face."""
