"""Training recipes of the bundled models."""
