"""Tests that glibc keeps freed memory and that other platforms are not changed."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from purebench.core.compute.memory import keep_freed_memory

FAULTS = """
import resource, torch
from purebench.core.compute.memory import keep_freed_memory
{call}
torch.set_num_threads(1)
for _ in range(10):
    torch.ones(10_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(30):
    torch.ones(10_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(call: str) -> int:
    """Return the page faults of thirty tensors of 40 MB, each freed before the next."""
    script = FAULTS.format(call=call)
    return int(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_freed_memory_is_reused_without_page_faults() -> None:
    assert keep_freed_memory()
    assert faults("keep_freed_memory()") < 0.1 * faults("")


def test_other_platforms_are_not_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    keep_freed_memory.cache_clear()
    try:
        assert not keep_freed_memory()
    finally:
        keep_freed_memory.cache_clear()
