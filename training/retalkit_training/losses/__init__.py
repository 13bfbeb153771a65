"""Losses of the trainers, each with its source, equation and configuration."""
