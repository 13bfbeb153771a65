"""Detector ``face_alignment``, which computes S3FD boxes and 68 FAN landmarks with the face-alignment library's
networks.
"""
