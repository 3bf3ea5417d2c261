"""Keeps track of the contexts that a forward pass runs in, for backward passes that compute parts of it again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from types import TracebackType
from typing import Self

_entered: list[PassContext] = []


class PassContext(ABC):
    """A context of forward passes that changes modules; it may be entered again within itself."""

    def __init__(self) -> None:
        self.depth = 0

    @abstractmethod
    def begin(self) -> None:
        """Change the modules."""

    @abstractmethod
    def end(self) -> None:
        """Put everything back."""

    def __enter__(self) -> Self:
        self.depth += 1
        _entered.append(self)
        if self.depth == 1:
            self.begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.depth -= 1
        _entered.remove(self)
        if self.depth == 0:
            self.end()


class _Together(AbstractContextManager[None]):
    """Several contexts as one, which can be entered more than once."""

    def __init__(self, contexts: Sequence[PassContext]):
        self.contexts, self.stacks = contexts, list[ExitStack]()

    def __enter__(self) -> None:
        stack = ExitStack()
        for context in self.contexts:
            stack.enter_context(context)
        self.stacks.append(stack)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stacks.pop().close()


def entered() -> AbstractContextManager[None]:
    """Return a context that enters again what is entered now."""
    return _Together(tuple(dict.fromkeys(_entered)))
