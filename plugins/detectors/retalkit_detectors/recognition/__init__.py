"""Face recognisers."""
