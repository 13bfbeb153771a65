"""The checks of each kind of stage, and of metrics."""
