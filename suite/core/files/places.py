"""Default paths of files."""

from __future__ import annotations

from pathlib import Path

STORE_SCHEMA = 1
"""Version of the schema of record stores; part of the name of the default one, so that versions do not meet."""


def default_store() -> Path:
    """Return the default path of the record store, in the user's data folder."""
    import platformdirs

    return platformdirs.user_data_path("purebench") / f"records-{STORE_SCHEMA}.sqlite"
