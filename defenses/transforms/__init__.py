"""Image transforms that need no model."""
