"""One run: planning, detection, tracking, fitting, speech, rendering and finishing."""
