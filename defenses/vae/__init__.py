"""Purifiers built on variational autoencoders with a single latent."""
