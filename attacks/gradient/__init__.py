"""Attacks that maximise a loss within the threat model by gradient ascent."""
