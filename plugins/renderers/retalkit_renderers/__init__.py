"""Renderers: expression editors, lip syncers and the model that drives their mouths."""
