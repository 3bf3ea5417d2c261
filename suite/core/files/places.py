"""Where things are kept unless one says otherwise."""

from __future__ import annotations

from pathlib import Path


def default_store() -> Path:
    """Where records go unless told otherwise: the user's data folder."""
    import platformdirs

    return platformdirs.user_data_path("purebench") / "records.sqlite"
