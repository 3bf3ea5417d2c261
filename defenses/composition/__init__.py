"""Defenses made of other defenses: any purifier before any classifier, votes, smoothing."""
