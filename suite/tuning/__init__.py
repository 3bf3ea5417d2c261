"""Choosing the alphas of an MLVGM purifier by search (Serez et al., WACV 2025)."""
