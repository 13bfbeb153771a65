"""Evaluation of predicted mouth motion against lips tracked in videos."""
