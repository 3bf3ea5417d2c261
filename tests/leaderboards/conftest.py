"""The fixtures of the demonstration board."""

from demo_board import build, cascade, demo, nearby  # noqa: F401  (fixtures)
