"""Inspection of a planned run before rendering: what is edited, why other frames are not, and how long the run takes.

``model`` contains the results as plain data, ``inspect`` computes them, and ``page`` writes them as HTML and JSON.
"""
