"""Training code that is part of the repository but not of the wheel."""
