"""Checks an expectation as it stands in a suite: its kind, its arguments, and the columns that it is about.

The library is not imported: what a kind takes is in `kinds.py`. All problems are found at once.
"""

from __future__ import annotations

import json
import math
import re
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tallywright.data.types import sql_name
from tallywright.errors import did_you_mean
from tallywright.gates.expectations.conditions import Condition, parse_condition
from tallywright.gates.expectations.kinds import KINDS, REFUSED, SUBJECTS
from tallywright.gates.expectations.types import known_types
from tallywright.gates.expectations.values import (
    NUMBERS,
    Columns,
    family_of,
    read_bound,
    read_number,
    read_value,
    shown,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tallywright.gates.expectations.kinds import ExpectationKind

_PARSERS: Final = ("great_expectations", "pandas")
"""Both are read by the one grammar of `row_condition`; suites of before name one."""
_INTERPOLATIONS: Final = ("linear", "lower", "higher", "midpoint", "nearest")
_LIMITS: Final = ("min_value", "max_value")
_WHOLE: Final = 1.0
_CLOSE: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Arguments:
    """The arguments of an expectation, read by the types of its columns.

    Attributes:
        values: By name; without the condition, which is no business of the library.
        condition: The rows that it is about; None for all.
        problems: Each with the name of the argument ("" for all of them).
    """

    values: dict[str, Any]
    condition: Condition | None
    problems: tuple[tuple[str, str], ...]


def check_expectation(name: str, arguments: Mapping[str, Any], columns: Columns) -> Arguments:
    """Reads the arguments of one expectation and says all that is wrong with it."""
    kind = KINDS.get(name)
    if kind is None:
        return Arguments({}, None, (("expect", _unknown(name, arguments)),))
    problems = [*_unfit_names(kind, arguments)]
    reader = _Reader(kind, arguments, columns)
    values: dict[str, Any] = {}
    condition = None
    for key, form in kind.parameters.items():
        if arguments.get(key) is None:
            continue
        try:
            found = reader.read(key, form.rstrip("!"))
        except ValueError as error:
            problems.append((key, str(error)))
            continue
        if form == "condition":
            condition = found
        elif form != "parser":
            values[key] = found
    problems += _unfit_columns(kind, values, columns)
    problems += _unfit_together(kind, values)
    return Arguments(values, condition, tuple(problems))


def _unknown(name: str, arguments: Mapping[str, Any]) -> str:
    if name not in REFUSED:
        return f"no expectation {name!r}{did_you_mean(name, sorted(KINDS))}"
    why, instead = REFUSED[name]
    pattern = arguments.get("like_pattern", arguments.get("like_pattern_list"))
    regex = ""
    if isinstance(pattern, str):
        regex = f", {_regex_of(pattern)!r}"
    elif isinstance(pattern, list) and all(isinstance(one, str) for one in pattern):
        regex = f", {[_regex_of(one) for one in pattern]!r}"
    return f"{name} cannot be judged here" + (f"; use {instead}{regex}" if instead else "") + f" ({why})"


def _regex_of(pattern: str) -> str:
    """The regular expression that matches what a LIKE pattern does."""
    parts = {"%": ".*", "_": "."}
    regex = f"^{''.join(parts.get(character, re.escape(character)) for character in pattern)}$"
    return regex.removeprefix("^.*").removesuffix(".*$") or ".*"


def _unfit_names(kind: ExpectationKind, arguments: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Arguments that the kind does not take, and those that it needs."""
    known = kind.parameters
    unknown = [key for key in arguments if key not in known]
    allowed = [*known, "severity", "notes"]
    for key in unknown:
        yield key, f"unknown argument {key!r}{did_you_mean(key, allowed)}; allowed are {', '.join(allowed)}"
    for key, form in known.items():
        is_mistyped = any(did_you_mean(one, [key]) for one in unknown)
        if form.endswith("!") and arguments.get(key) is None and not is_mistyped:
            yield key, f"{key} is missing"
    mistyped = any(did_you_mean(one, kind.one_of) for one in unknown)
    if kind.one_of and all(arguments.get(key) is None for key in kind.one_of) and not mistyped:
        yield "", f"without {' or '.join(kind.one_of)} it judges nothing; give one"


def _unfit_columns(kind: ExpectationKind, values: Mapping[str, Any], columns: Columns) -> Iterator[tuple[str, str]]:
    """Columns whose type the kind cannot judge."""
    for key in SUBJECTS & values.keys() - _own_lists(kind):
        named = values[key]
        for column in named if isinstance(named, list) else [named]:
            known = columns.get(column)
            if known is not None and family_of(known) not in kind.fits:
                yield key, f"{column} is {sql_name(known)}; {kind.needs}"
    pair = [columns.get(values.get(key, "")) for key in ("column_A", "column_B")]
    if kind.subject == "pair" and None not in pair and _unlike(*pair):
        names = f"{values['column_A']} is {sql_name(pair[0])}, {values['column_B']} is {sql_name(pair[1])}"
        yield "column_B", f"{names}; a comparison needs columns of one kind"


def _own_lists(kind: ExpectationKind) -> set[str]:
    """A list of columns that are expected, which need not be there."""
    return {"column_list"} if kind.subject == "table" else set()


def _unlike(one: Any, other: Any) -> bool:
    families = {family_of(one), family_of(other)}
    return len(families) > 1 and not families <= NUMBERS


def _unfit_together(kind: ExpectationKind, values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Arguments that are right one by one and can never be met together."""
    low, high = (values.get(key) for key in _LIMITS)
    if low is not None and high is not None:
        strict = values.get("strict_min") or values.get("strict_max")
        if low > high:
            yield "min_value", f"min_value {shown(low)} is above max_value {shown(high)}"
        elif low == high and strict:
            yield "min_value", f"no value is strictly between {shown(low)} and {shown(high)}"
    if "partition_object" in values:
        yield from _unfit_partition(values["partition_object"], values)
    named = values.get("column_list")
    if kind.subject == "list" and named is not None and len(set(named)) < max(2, len(named)):
        yield "column_list", "at least two columns are needed, each once"


def _unfit_partition(partition: Mapping[str, Any], values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if "bins" not in partition and values.get("internal_weight_holdout"):
        yield "internal_weight_holdout", "only a partition with bins has inner weights to hold out"
    if "bins" in partition and values.get("bucketize_data") is False:
        yield "bucketize_data", "values are put into the bins; take it out"
    if partition.get("tail_weights") and values.get("tail_weight_holdout"):
        yield "tail_weight_holdout", "the partition has tail_weights already; give one of them"


class _Reader:
    """Reads the arguments of one expectation by their forms."""

    def __init__(self, kind: ExpectationKind, arguments: Mapping[str, Any], columns: Columns) -> None:
        self._kind, self._arguments, self._columns = kind, arguments, columns
        self._forms: dict[str, Callable[[str, Any], Any]] = {
            "bound": lambda _, value: read_bound(value, *self._column()),
            "column": lambda _, value: self._known_column(value),
            "columns": lambda _, value: [self._known_column(one) for one in _list(value)],
            "condition": lambda _, value: parse_condition(_string(value), self._columns),
            "count": lambda _, value: _count(value),
            "flag": lambda _, value: _flag(value),
            "interpolation": lambda _, value: value if value is False else _one_of(value, _INTERPOLATIONS),
            "names": lambda _, value: [_string(one) for one in _list(value)],
            "number": lambda _, value: read_number(value),
            "pairs": lambda _, value: self._pairs(value),
            "parser": lambda _, value: _one_of(value, _PARSERS),
            "partition": lambda _, value: self._partition(value),
            "positive": lambda _, value: _at_least_zero(value),
            "quantiles": lambda _, value: _quantiles(value),
            "regex": lambda _, value: _regex(value),
            "regexes": lambda _, value: [_regex(one) for one in _filled(value)],
            "schema": lambda _, value: _schema(value),
            "share": lambda _, value: _share(value),
            "strftime": lambda _, value: _string(value),
            "type": lambda _, value: self._type(value),
            "types": lambda _, value: [self._type(one) for one in _filled(value)],
            "values": lambda _, value: self._values(value),
        }

    def read(self, key: str, form: str) -> Any:
        """The value of an argument.

        Raises:
            ValueError: It does not have that form.
        """
        value = self._arguments[key]
        if form.startswith("one of "):
            return _one_of(value, form.removeprefix("one of ").split(", "))
        return self._forms[form](key, value)

    def _column(self) -> tuple[str, Any]:
        """The column that the expectation is about, and its type; None where it is not known."""
        name = self._arguments.get("column")
        return str(name), self._columns.get(name) if isinstance(name, str) else None

    def _known_column(self, value: Any) -> str:
        name = _string(value)
        # Whether a column exists is what is asked there.
        if name in self._columns or self._kind.shape == "exists":
            return name
        raise ValueError(f"there is no column {name!r}{did_you_mean(name, self._columns)} in data.columns")

    def _values(self, value: Any) -> list[Any]:
        read = [read_value(one, *self._column()) for one in _list(value) if one is not None]
        if not read:
            raise ValueError("a set without values judges nothing; give some")
        return read

    def _pairs(self, value: Any) -> list[tuple[Any, Any]]:
        names = [self._arguments.get(key) for key in ("column_A", "column_B")]
        kinds = [self._columns.get(name) if isinstance(name, str) else None for name in names]
        read: list[tuple[Any, Any]] = []
        for pair in _filled(value):
            both = _list(pair)
            if len(both) != len(names):
                raise ValueError(f"found {shown(pair)}, pairs of two values are needed")
            first, second = (
                None if one is None else read_value(one, str(name), kind)
                for one, name, kind in zip(both, names, kinds, strict=True)
            )
            read.append((first, second))
        return read

    def _type(self, value: Any) -> str:
        name, known = _string(value), known_types()
        if name.upper() in known or name in known or name.upper().startswith("DECIMAL("):
            return name
        raise ValueError(f"unknown type {name!r}{did_you_mean(name, known) or did_you_mean(name.upper(), known)}")

    def _partition(self, value: Any) -> dict[str, Any]:
        column, kind = self._column()
        discrete = isinstance(value, dict) and value.keys() == {"values", "weights"}
        if not discrete and not (
            isinstance(value, dict) and {"bins", "weights"} <= value.keys() <= {"bins", "weights", "tail_weights"}
        ):
            raise ValueError("a mapping of values and weights, or of bins and weights, is needed")
        weights = [_share(one) for one in _filled(value["weights"])]
        tails = [_share(one) for one in _list(value.get("tail_weights", []))]
        if abs(math.fsum([*weights, *tails]) - _WHOLE) > _CLOSE:
            raise ValueError(f"the weights add up to {math.fsum([*weights, *tails]):g}, not to 1")
        if discrete:
            read = [read_value(one, column, kind) for one in _filled(value["values"])]
            if len(set(read)) < len(read) or len(read) != len(weights):
                raise ValueError("a weight for each value, and each value once, is needed")
            return {"values": read, "weights": weights}
        if kind is not None and family_of(kind) not in NUMBERS:
            raise ValueError(f"{column} is {sql_name(kind)}; bins are for numbers, use values")
        bins = [read_number(one) for one in _filled(value["bins"])]
        if sorted(set(bins)) != bins or len(bins) != len(weights) + 1 or len(tails) not in (0, 2):
            raise ValueError("bins must rise, with one more of them than weights (and two tail_weights, if any)")
        return {"bins": bins, "weights": weights} | ({"tail_weights": tails} if tails else {})


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"found {shown(value)}, a list is needed")  # noqa: TRY004 - one kind of refusal
    return value


def _filled(value: Any) -> list[Any]:
    if not _list(value):
        raise ValueError("the list is empty")
    return value  # type: ignore[no-any-return] # a list, as tested


def _string(value: Any) -> str:
    if not isinstance(value, str):
        hint = "; quote it: without quotes YAML reads yes, no, on, off and NO as truth values" * isinstance(value, bool)
        raise ValueError(f"found {shown(value)}, a text is needed{hint}")  # noqa: TRY004
    return value


def _one_of(value: Any, allowed: tuple[str, ...] | list[str]) -> str:
    if value not in allowed:
        raise ValueError(
            f"found {shown(value)}, one of {', '.join(allowed)} is needed{did_you_mean(str(value), allowed)}"
        )
    return str(value)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"found {shown(value)}, true or false is needed")  # noqa: TRY004
    return value


def _count(value: Any) -> int:
    number = read_number(value)
    if number < 0 or number != int(number):
        raise ValueError(f"found {shown(value)}, a whole number from 0 is needed")
    return int(number)


def _at_least_zero(value: Any) -> float | int:
    number = read_number(value)
    if number < 0:
        raise ValueError(f"found {shown(value)}, a number from 0 is needed")
    return number


def _share(value: Any) -> float | int:
    number = read_number(value)
    if not 0 <= number <= 1:
        raise ValueError(f"found {shown(value)}, a share from 0 to 1 is needed")
    return number


def _regex(value: Any) -> str:
    text = _string(value)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an unusual pattern is not wrong
            re.compile(text)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"found {shown(text)}, which is no regular expression: {error}") from None
    return text


def _schema(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"found {shown(value)}, a JSON schema is a mapping")  # noqa: TRY004
    try:
        text = json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        raise ValueError("a JSON schema holds texts, finite numbers, truth values, lists and mappings") from None
    if any(not target.startswith("#") for target in _references(json.loads(text))):
        raise ValueError("a $ref may name a part of the same schema only, such as '#/$defs/order'")
    return value


def _references(value: Any) -> Iterator[str]:
    """What the `$ref` of a schema point to."""
    if isinstance(value, dict):
        yield from (str(found) for key, found in value.items() if key in ("$ref", "$dynamicRef", "$recursiveRef"))
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _references(part)


def _quantiles(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict) or value.keys() != {"quantiles", "value_ranges"}:
        raise ValueError("a mapping of quantiles and value_ranges is needed")
    quantiles = [_share(one) for one in _filled(value["quantiles"])]
    ranges = [_quantile_range(one) for one in _list(value["value_ranges"])]
    if sorted(set(quantiles)) != quantiles or len(quantiles) != len(ranges):
        raise ValueError("the quantiles must rise, with one of value_ranges for each")
    return {"quantiles": quantiles, "value_ranges": ranges}


def _quantile_range(value: Any) -> list[float | int | None]:
    ends = [None if end is None else read_number(end) for end in _list(value)]
    if len(ends) != len(_LIMITS):
        raise ValueError(f"found {shown(value)}, a range has a least and a greatest value")
    if None not in ends and ends[0] > ends[1]:  # type: ignore[operator] # no None is among them
        raise ValueError(f"found {shown(value)}, and the least value is above the greatest")
    return ends
