"""Purifiers that answer with what a model of clean images makes of the image: by one pass, by choice, or by search."""
