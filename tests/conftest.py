"""Settings of all tests: one thread, as in every job, and no Hypothesis deadlines, so that tests may be slow."""

from __future__ import annotations

import os

from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")
settings.register_profile("purebench", deadline=None)
settings.load_profile("purebench")


def pytest_configure() -> None:
    import torch

    torch.set_num_threads(1)
