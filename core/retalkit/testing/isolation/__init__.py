"""Detection of side effects and allocations."""
