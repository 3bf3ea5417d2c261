"""Defines the recipes of the small models whose robust accuracy is known."""
