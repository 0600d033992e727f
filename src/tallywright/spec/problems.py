"""What pydantic found wrong, in words: file, path, what was found, what is allowed, the nearest match."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from tallywright.errors import SpecError, did_you_mean
from tallywright.spec.base import Section

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic_core import ErrorDetails

_Section = TypeVar("_Section", bound=Section)


def validated(cls: type[_Section], values: dict[str, Any], file: Path, problems: list[str]) -> _Section | None:
    """The section; None, and what is wrong added to `problems`, when the values do not fit."""
    try:
        return cls.model_validate(values)
    except ValidationError as error:
        problems.extend(f"{file}: {_explain(cls, detail)}" for detail in error.errors())
        return None


def refusal(problems: list[str], remedy: str) -> SpecError:
    """One error with all problems."""
    return SpecError(
        f"{len(problems)} problem{'s' if len(problems) != 1 else ''} in the spec:\n"
        + "\n".join(f"  - {problem}" for problem in problems),
        remedy=remedy,
    )


def _explain(cls: type[Section], detail: ErrorDetails) -> str:
    path = ".".join(str(part) for part in detail["loc"]) or "(whole file)"
    found = detail["input"]
    if detail["type"] == "extra_forbidden":
        allowed = _allowed_keys(cls, detail["loc"][:-1])
        hint = did_you_mean(str(detail["loc"][-1]), allowed)
        return f"{path}: unknown key{hint}; allowed here: {', '.join(allowed)}"
    if detail["type"] == "missing":
        return f"{path}: missing; it has no default, please give it"
    message = detail["msg"].removeprefix("Value error, ")
    secret = detail["loc"][:1] == ("storage",) and ("options" in detail["loc"] or isinstance(found, dict))
    if secret or (isinstance(found, dict) and len(str(found)) > 80):  # noqa: PLR2004 - a whole section says nothing
        return f"{path}: {message}"
    return f"{path}: found {found!r}; {message}"


def _allowed_keys(cls: type[Section], loc: tuple[int | str, ...]) -> list[str]:
    """The keys of the section at `loc`; dictionary levels (such as `data.sources.<name>`) are walked through."""
    current: Any = cls
    for part in loc:
        field = getattr(current, "model_fields", {}).get(part) if isinstance(current, type) else None
        annotation = field.annotation if field is not None else current
        current = section_in(annotation)
        if current is None:
            return []
    return sorted(current.model_fields)


def section_in(annotation: Any) -> type[Section] | None:
    """The section in a field's annotation, through unions and containers; None when there is none."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        found = section_in(inner)
        if found is not None:
            return found
    return None
