"""Fuzz tests of everything that reads files of users. See ``python -m tests.fuzz --help``."""
