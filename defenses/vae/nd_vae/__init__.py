"""ND-VAE: a hierarchical VAE that learns to answer attacked images with clean ones, as released by Serez et al. 2025."""
