"""Default paths of files."""

from __future__ import annotations

from pathlib import Path


def default_store() -> Path:
    """Return the default path of the record store, in the user's data folder."""
    import platformdirs

    return platformdirs.user_data_path("purebench") / "records.sqlite"
