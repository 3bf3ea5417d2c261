"""Definitions that all other packages build on: threat models, defenses, protocols, the registry, errors."""
