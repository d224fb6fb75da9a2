"""A set of photos in a model's embedding space: compute, measure, project."""
