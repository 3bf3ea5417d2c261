"""A defense and an attack for purebench. This module imports nothing: purebench imports them on demand."""
