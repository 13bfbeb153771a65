"""The ``exemplar`` lip syncer: images of the person's own mouth, warped onto every frame, without a network."""
