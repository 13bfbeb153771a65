"""The detector ``face_alignment``: S3FD boxes and the 68 points of FAN, through the library of that name."""
