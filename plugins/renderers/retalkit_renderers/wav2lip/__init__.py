"""Lip syncer ``wav2lip``, whose network generates the lower half of the face from speech and the person's own face."""
