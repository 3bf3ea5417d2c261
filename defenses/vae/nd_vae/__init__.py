"""ND-VAE: a hierarchical VAE that answers attacked images with clean ones, as released by Serez et al. 2025."""
