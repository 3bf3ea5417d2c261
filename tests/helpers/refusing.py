"""What a damaged file must give: one short line, at once and in little memory."""

from __future__ import annotations

from collections.abc import Callable
from resource import RUSAGE_SELF, getrusage
from time import process_time

import pytest

from purebench.core.errors import PurebenchError


def refused(read: Callable[[], object], message: str) -> None:
    """Reading is refused with one short line that says this, at once and in little memory."""
    before, began = getrusage(RUSAGE_SELF).ru_maxrss, process_time()
    with pytest.raises(PurebenchError) as caught:
        read()
    assert process_time() - began < 5
    assert getrusage(RUSAGE_SELF).ru_maxrss - before < 300 * 1024
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 700
