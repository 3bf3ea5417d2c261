"""A-VAE: a StyleGAN-like decoder behind an encoder of a small copy of the image, as released by Serez et al. 2025."""
