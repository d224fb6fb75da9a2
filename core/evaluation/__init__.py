"""Many photos, or two models: compare, study, probe."""
