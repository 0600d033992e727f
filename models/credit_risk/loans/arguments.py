"""The arguments of the scripts of this project: which world, and which of its days."""

from __future__ import annotations

import argparse
from datetime import date

from loans.faults import FAULTS, parse_fault
from loans.world import World


def parser_of(description: str) -> argparse.ArgumentParser:
    """A parser with the arguments that say which world and which days."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--from", dest="first", type=date.fromisoformat, required=True, metavar="DATE")
    parser.add_argument("--to", dest="last", type=date.fromisoformat, required=True, metavar="DATE")
    parser.add_argument("--rows", type=int, default=900, help="applications on a usual day (default: 900)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--fault", action="append", default=[], metavar="KIND:FIRST:LAST[:OPTION=VALUE,…]",
        help=f"what goes wrong between two dates; may be given several times. Kinds: {', '.join(FAULTS)}",
    )  # fmt: skip
    return parser


def world_of(parser: argparse.ArgumentParser, given: argparse.Namespace) -> World:
    """The world that the arguments name; what cannot be ends the program with what is wrong."""
    if given.last < given.first:
        parser.error(f"--to {given.last} is before --from {given.first}")
    if given.rows < 1 or given.seed < 0:
        parser.error("--rows must be at least 1, and --seed at least 0")
    try:
        return World(given.seed, given.rows, tuple(parse_fault(text) for text in given.fault))
    except ValueError as error:
        parser.error(str(error))
