"""The worst attack of each image, from a few draws."""
