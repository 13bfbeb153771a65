"""The lip syncer ``lnet``: the lower half of a face, drawn from speech and a reference face by a network."""
