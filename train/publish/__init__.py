"""Model cards and merged checkpoints."""
