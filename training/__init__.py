"""Training code that is kept with the project and not part of the wheel."""
