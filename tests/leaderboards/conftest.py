"""The fixtures of the demonstration board and of the browser."""

from browsing import axe, browser  # noqa: F401  (fixtures)
from demo_board import build, cascade, demo, nearby  # noqa: F401  (fixtures)
