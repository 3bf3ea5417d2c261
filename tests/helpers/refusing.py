"""The expected reaction to damaged files: a short error of one line, quickly and with little memory."""

from __future__ import annotations

from collections.abc import Callable
from resource import RUSAGE_SELF, getrusage
from time import process_time

import pytest

from purebench.core.errors import PurebenchError


def refused(read: Callable[[], object], message: str) -> None:
    """Asserts that reading fails with one short line that contains `message`, quickly and with little memory."""
    before, began = getrusage(RUSAGE_SELF).ru_maxrss, process_time()
    with pytest.raises(PurebenchError) as caught:
        read()
    assert process_time() - began < 5
    assert getrusage(RUSAGE_SELF).ru_maxrss - before < 300 * 1024
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 700
