"""Attacks that need no gradients."""
