"""Adapters for the attacks of ART, Foolbox and AutoAttack."""
