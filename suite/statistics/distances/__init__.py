"""Security curves and median distances."""
