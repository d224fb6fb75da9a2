"""What makes a checkpoint: records -> features -> stages -> calibration -> evaluation."""
