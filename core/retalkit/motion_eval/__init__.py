"""Agreement of a driver's mouth motion with tracked lips."""
