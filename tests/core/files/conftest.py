"""Each test may have a server of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from file_server import FileServer, serving  # isort: skip


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving() as state:
        yield state
