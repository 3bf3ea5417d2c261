"""Purifiers based on variational autoencoders with a single latent."""
