"""Recipes that made the bundled weights; `purebench train NAME` runs one."""
