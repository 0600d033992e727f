"""The files of a package for other readers: `MLmodel` for MLflow, `requirements.txt` for pip, the model card."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

from tallywright.packaging.manifest import Postprocess, signature
from tallywright.tasks import is_of_class

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from tallywright.packaging.meta import PackageMeta
    from tallywright.packaging.preprocess import Preprocess


def mlmodel_text(meta: PackageMeta, inputs: pa.Schema, postprocess: Postprocess) -> str:
    """The `MLmodel` file: a pyfunc that our own loader module opens, so that nothing is pickled."""
    import yaml

    flavor = {
        "loader_module": "tallywright.packaging.pyfunc",
        "python_version": meta.requirements.get("python", platform.python_version()),
    }
    content = {
        "flavors": {"python_function": flavor},
        "run_id": meta.run_id or None,
        "signature": {**signature(inputs, postprocess), "params": None},
        "utc_time_created": meta.created_at.strftime("%Y-%m-%d %H:%M:%S.%f"),
    }
    return yaml.safe_dump(content, sort_keys=True, width=10_000)


def requirements_text(requirements: Mapping[str, str]) -> str:
    """The pinned versions in pip's form."""
    return "".join(f"{name}=={version}\n" for name, version in sorted(requirements.items()) if name != "python")


def model_card_text(meta: PackageMeta, preprocess: Preprocess) -> str:
    """A model card from the package's metadata; training may supply another."""
    named = {metric for values in meta.evaluation.values() for metric in values}
    metrics = sorted(metric for metric in named if not is_of_class(metric))
    lines = [
        f"# {meta.model}",
        "",
        f"A {meta.task} model of `{meta.target}`, trained through {meta.trained_through}.",
        "",
        f"- owner: {meta.owner or 'not named'}",
        f"- made: {meta.created_at:%Y-%m-%d %H:%M} UTC, run `{meta.run_id}`, code `{meta.code_version}`",
        f"- numeric inputs: {', '.join(preprocess.numeric) or 'none'}",
        f"- categorical inputs: {', '.join(category.column for category in preprocess.categorical) or 'none'}",
    ]
    if metrics:
        lines += ["", "## On the holdout", "", f"| | {' | '.join(metrics)} |", "|---|" + "---|" * len(metrics)]
        lines += [
            f"| {name} | {' | '.join(f'{values[m]:.4f}' if m in values else '' for m in metrics)} |"
            for name, values in meta.evaluation.items()
        ]
    return "\n".join(lines) + "\n"
