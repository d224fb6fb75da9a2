"""Photos and sets of labelled photos, read safely."""
