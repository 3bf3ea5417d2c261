"""Makes the JSON schema of a board.yaml, with which editors complete and check it."""

from __future__ import annotations

import json
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from purebench.boards.schema import BoardSchema

FILE_NAME = "board.schema.json"
"""Name of the file that boards refer to in their first line."""


class _WithoutTitles(GenerateJsonSchema):
    """Leaves out the titles, which would repeat the names of the fields."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def board_json_schema() -> str:
    """Return the JSON schema of a board.yaml, as indented text that ends in a line break."""
    made = BoardSchema.model_json_schema(schema_generator=_WithoutTitles)
    whole = {"$schema": GenerateJsonSchema.schema_dialect, **made, "title": "board.yaml"}
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"
