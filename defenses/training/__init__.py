"""Training of the bundled weights; `purebench train NAME` runs a recipe."""
