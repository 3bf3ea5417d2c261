"""Attacks that ascend a loss within the threat model."""
