"""Analysis of source code: syntax trees, imports, and modules that changed on disk."""
