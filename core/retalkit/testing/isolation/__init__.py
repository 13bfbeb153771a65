"""Detection of side effects, allocations and memory growth."""
