"""Face detectors that ship with Retalkit."""
