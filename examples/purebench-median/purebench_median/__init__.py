"""A defense and an attack for purebench. Nothing is imported here: purebench imports what it is asked for."""
