"""Labelled photos in, batches of triples out."""
