"""Accuracy, ablations and speed."""
