"""A-VAE: a StyleGAN-like decoder with an encoder of the downscaled image, as released by Serez et al. 2025."""
