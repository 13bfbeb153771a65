"""Face detectors bundled with Retalkit."""
