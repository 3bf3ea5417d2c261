"""Attacks of ART, Foolbox and AutoAttack."""
