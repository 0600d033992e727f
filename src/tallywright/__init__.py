"""Tallywright: one YAML file per model becomes Airflow DAGs that train, gate, register, score and monitor it.

For programs: `tallywright.scores(model, dates)` gives scored rows as Arrow. What it needs is imported when it is first
asked for; `__init__.pyi` says its type.
"""

from importlib import import_module

__all__ = ["__version__", "scores"]
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """Imports what is public on its first use: `import tallywright` alone loads nothing."""
    if name == "scores":
        return import_module("tallywright.reporting.reader").scores
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
