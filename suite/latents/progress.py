"""Defines how the tools for latents report their progress."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""progress(what is being done, how much is done, of how much)."""
