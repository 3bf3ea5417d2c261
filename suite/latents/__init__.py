"""Inspection and tuning of models with several latent variables."""
