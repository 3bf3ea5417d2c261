"""The defense that this repository develops."""

import torch

from purebench.core.defense import Function


def mine():
    """Round each pixel to one of eight values."""
    return Function(lambda x: torch.round(7 * x) / 7, random=False)
