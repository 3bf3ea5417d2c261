"""Recipes: how each bundled model was trained."""
