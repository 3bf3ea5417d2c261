"""Defenses: purifiers by family, the classifiers they protect, and the weights and recipes of both."""
