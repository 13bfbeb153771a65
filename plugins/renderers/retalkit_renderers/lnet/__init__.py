"""Lip syncer ``lnet``, whose network generates the lower half of the face from speech and a reference face."""
