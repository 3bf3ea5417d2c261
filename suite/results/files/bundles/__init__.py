"""Defines bundles: files that contain all that is needed to verify a row of a board."""
