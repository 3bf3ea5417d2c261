"""Source code as data: syntax trees, imports, and modules that changed on disk."""
