"""Is the start of a worker process: it imports nothing heavy before it watches its parent, with which it ends."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import threading
from multiprocessing.connection import Connection


def work(link: Connection, packed: bytes) -> None:
    """Prepare a board, and run the jobs that are sent, until the connection is closed.

    Args:
        link: the connection to the process that started this one.
        packed: the pickled board and device.
    """
    threading.Thread(target=_die_with_parent, daemon=True).start()
    from purebench.execution.backends.worker import serve

    try:
        serve(link, *pickle.loads(packed))
    except (EOFError, BrokenPipeError, ConnectionResetError, KeyboardInterrupt):
        return


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
