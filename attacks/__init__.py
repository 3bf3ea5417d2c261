"""Attacks: a view of the defense, and the algorithms that look through it."""
