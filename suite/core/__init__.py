"""Definitions everything else builds on: threat models, defenses, protocols, the registry, errors."""
