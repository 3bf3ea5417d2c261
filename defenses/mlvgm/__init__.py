"""Purifiers based on multiple-latent-variable generative models (Serez et al., WACV 2025)."""
