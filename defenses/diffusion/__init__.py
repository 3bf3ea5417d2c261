"""Purifiers built on diffusion models."""
