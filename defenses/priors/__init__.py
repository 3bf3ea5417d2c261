"""Purifiers based on a generative or energy model of clean images: by one pass, by choice, or by search."""
