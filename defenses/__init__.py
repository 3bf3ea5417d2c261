"""Defenses: purifiers by family, the classifiers that they protect, and the weights and training recipes of both."""
