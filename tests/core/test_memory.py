"""glibc keeps what was freed; elsewhere nothing happens."""

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
    """Page faults of thirty tensors of 40 MB, each freed before the next."""
    script = FAULTS.format(call=call)
    return int(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_memory_that_was_freed_is_used_again_without_asking_the_system() -> None:
    assert keep_freed_memory()
    assert faults("keep_freed_memory()") < 0.1 * faults("")


def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    keep_freed_memory.cache_clear()
    try:
        assert not keep_freed_memory()
    finally:
        keep_freed_memory.cache_clear()
