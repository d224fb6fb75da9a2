"""Training: the stages, calibration and a preview."""
