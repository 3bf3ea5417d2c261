"""A backend of `torch.compile` that counts compiled graphs and their calls, and runs them as they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor
from torch.fx import GraphModule


class Counting:
    """Counts graphs and calls.

    Attributes:
        graphs: Number of compiled graphs.
        calls: Number of calls of compiled graphs.
        rows: Lengths of the first four-dimensional argument of the calls.
    """

    def __init__(self, change: Callable[[Tensor], Tensor] = lambda answer: answer):
        self.change, self.graphs, self.calls, self.rows = change, 0, 0, list[int]()

    def __call__(self, graph: GraphModule, examples: Sequence[Any]) -> Callable[..., Any]:
        self.graphs += 1

        def run(*given: Any) -> Any:
            self.calls += 1
            images = [len(one) for one in given if isinstance(one, Tensor) and one.ndim == 4 and not is_weight(one)]
            self.rows += images[:1]
            return tuple(self.change(answer) for answer in graph.forward(*given))

        return run


def is_weight(tensor: Tensor) -> bool:
    """Returns whether a tensor is a parameter."""
    return type(tensor).__name__ == "Parameter"
