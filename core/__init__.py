"""What a photo goes through: open -> load a model -> identify."""
