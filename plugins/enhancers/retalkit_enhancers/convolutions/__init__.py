"""Convolutions that the networks of several enhancers are built of."""
