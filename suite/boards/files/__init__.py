"""The files that a board names: Python files beside it, and files that third parties publish."""
