"""The ``exemplar`` lip syncer: pictures of the person's own mouth, warped onto every frame. No network makes pixels."""
