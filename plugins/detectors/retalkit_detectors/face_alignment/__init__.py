"""Detector ``face_alignment``: S3FD boxes and 68 FAN landmarks, with the networks of the face-alignment library."""
