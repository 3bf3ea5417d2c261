"""The command `purebench schema`."""

from __future__ import annotations

import sys


def schema() -> None:
    """Print the JSON schema of a board.yaml, with which editors complete and check it.

    Example: purebench schema > board.schema.json, and as the first line of the board:
    # yaml-language-server: $schema=board.schema.json
    """
    from purebench.boards.json_schema import board_json_schema

    sys.stdout.write(board_json_schema())
