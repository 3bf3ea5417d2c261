"""Norms: facts about them, projections and distances."""
