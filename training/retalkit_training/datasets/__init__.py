"""Prepared training datasets: preparation from videos, storage in tar shards, reading, and checks."""
