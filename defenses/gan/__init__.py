"""Purification by searching the nearest image of a GAN."""
