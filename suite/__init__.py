"""purebench: how robust is a defended image classifier against an attacker who knows the defense?

Nothing heavy is imported here, so that ``import purebench`` and the command line answer at once.
"""

__version__ = "0.4.0"
