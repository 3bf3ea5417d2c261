"""The fixtures of the demonstration board and of the browser."""

from browsing import browser  # noqa: F401  (fixture)
from demo_board import build, cascade, demo, nearby  # noqa: F401  (fixtures)
