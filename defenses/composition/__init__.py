"""Defenses composed of other defenses: a purifier before any classifier, votes, randomised smoothing."""
