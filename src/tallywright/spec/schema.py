"""The JSON schema of `model.yaml`, for editors that complete and check while you type."""

from __future__ import annotations

from typing import Any

from tallywright.spec.model import ModelSpec


def json_schema() -> dict[str, Any]:
    """The schema (draft 2020-12) of a whole `model.yaml`, descriptions included."""
    schema = ModelSpec.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
