"""Estimates the accuracy under the worst attack of each image from a few draws."""
