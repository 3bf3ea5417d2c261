"""Computes how many images and draws an evaluation needs."""
