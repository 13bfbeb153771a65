"""Is it still the same person?"""
