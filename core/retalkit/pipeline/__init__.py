"""Pipeline of one run: planning, detection, tracking, fitting, speech processing, rendering and finishing."""
