"""What a file from elsewhere must have in common with the spec: its columns, and an objective of the task."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from tallywright.errors import TallyError
    from tallywright.training.estimators.model_graph import Link
    from tallywright.training.objective import Objective


def other_columns(read: Collection[str], wanted: Collection[str]) -> str:
    """Which columns of the spec a file does not read, and which others it does; empty where they are the same."""
    missing, other = sorted(set(wanted) - set(read)), sorted(set(read) - set(wanted))
    told = [f"does not read {', '.join(missing)}"] * bool(missing) + [f"reads {', '.join(other)}"] * bool(other)
    return " and ".join(told)


def link_of(
    links: Mapping[str, Mapping[str, str]],
    named: str,
    outputs: int,
    objective: Objective,
    refusal: Callable[[str], TallyError],
) -> Link:
    """How the raw scores of a file of trees become scores.

    Args:
        links: The objectives of the library that are understood, by task, to the link of each.
        named: The file's objective.
        outputs: How many outputs it has.
        objective: The task with its classes.
        refusal: Makes the error of what is wrong with the file.

    Raises:
        TallyError: The file is of another task.
    """
    understood = links[objective.task]
    if named not in understood or outputs != objective.outputs:
        raise refusal(
            f"is of the objective {named} with {outputs} outputs; the task {objective.task} takes "
            f"{', '.join(understood)} with {objective.outputs}"
        )
    return cast("Link", understood[named])
