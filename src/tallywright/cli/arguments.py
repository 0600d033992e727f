"""Arguments that are no texts: a shell hands over any bytes, and every command takes UTF-8."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from tallywright.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator


def require_texts(command: click.Command) -> click.Command:
    """The command, which refuses arguments that are not UTF-8 before it does anything, and names them."""
    parse = command.parse_args

    def parsed(ctx: click.Context, args: list[str]) -> list[str]:
        if any(map(_wrong_byte, args)):
            name, byte = _first_wrong(command, ctx, args)
            raise UsageError(
                f"{name} is not UTF-8 {byte}",
                expected="a text in UTF-8",
                remedy="check the encoding of the terminal or of the script",
            )
        return parse(ctx, args)

    command.parse_args = parsed  # type: ignore[method-assign] # of this process's one instance
    return command


def _wrong_byte(text: str) -> str:
    """The first byte that is no UTF-8, and where; empty when all are."""
    try:
        os.fsencode(text).decode("utf-8")
    except UnicodeDecodeError as error:
        return f"(byte 0x{error.object[error.start]:02x} at {error.start})"
    return ""


def _first_wrong(command: click.Command, ctx: click.Context, args: list[str]) -> tuple[str, str]:
    """The parameter that was given no text, as the help calls it, and the byte in its value."""
    try:
        found, _, _ = command.make_parser(ctx).parse_args(args=list(args))
    except click.ClickException:
        found = {}
    for parameter in command.params:
        name = parameter.opts[-1] if isinstance(parameter, click.Option) else parameter.human_readable_name
        for value in _texts(found.get(parameter.name)):
            if byte := _wrong_byte(value):
                return name, byte
    place = next(place for place, text in enumerate(args) if _wrong_byte(text))
    before = args[place - 1] if place else ""
    return before if before.startswith("-") else "an argument", _wrong_byte(args[place])


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, list | tuple):
        for one in value:
            yield from _texts(one)
    elif isinstance(value, str):
        yield value
