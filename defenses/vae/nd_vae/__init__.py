"""ND-VAE: a hierarchical VAE that maps attacked images to clean ones, as released by Serez et al. 2025."""
