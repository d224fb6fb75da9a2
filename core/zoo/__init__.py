"""Which models there are, whether they can run here, and loading one by name."""
