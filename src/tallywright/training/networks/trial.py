"""Tries a project's network on a handful of rows, and says before the training what it would find too late.

Rows differ in sign, scale, nulls and unseen categories, and come in batches of 1, 4 and 257: shapes and types, figures
that are not finite, results that depend on chance, on the rows beside a row, or on values that Python has read, and the
exported graph's scores beside those of torch. Nothing here changes the random numbers that the fit draws.
"""

from __future__ import annotations

import random
import sys
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode

from tallywright.errors import PackageError, SpecError
from tallywright.observability import log
from tallywright.spec.estimators import Torch
from tallywright.tasks import TASKS
from tallywright.training.networks.determinism import deterministic
from tallywright.training.networks.export import exported, gap_between, present_inputs
from tallywright.training.networks.losses import training_loss
from tallywright.training.user_code.door import bad_network, place_of, user_code

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from tallywright.spec import Project
    from tallywright.training.matrices import Rows
    from tallywright.training.networks.module import NetworkDims, ScoringModule

MOST_PARAMETERS: Final = 50_000_000
"""Training holds about five times their bytes (weights, gradients, two moments, the best epoch): 1 GB."""
FEW, MANY = 4, 257
_TOLERANCE: Final = 1e-4
"""Far above rounding, far below what another function gives."""
_SAME: Final = 1e-5
_ROWS, _CODES, _CLASSES, _NULLS = 64, 5, 3, 0.1
_BYTES: Final = 4
_MOST_SUBSTITUTED: Final = 4
"""Reads of one place that are given another value: a loop over values must come to an end."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A network to try.

    Args:
        path: The project's file.
        make: Builds the module, without printing.
        dims: What `build` is given.
        rows: Training rows with encoded targets.
        seed: The seed of the fit.
    """

    path: Path
    make: Callable[[], ScoringModule]
    dims: NetworkDims
    rows: Rows
    seed: int

    def run(self) -> None:
        """Raises what is wrong with the network.

        Raises:
            SpecError: Names file, line and function where they are known.
        """
        with _randomness_kept(), deterministic(self.seed):
            self._refuse_giants()
            module = self.make()
            self._require_parameters(module)
            batches = self._batches(module)
            self._require_shape(module, batches["real"])
            self._require_finite(module, batches)
            self._require_gradients(module)
            module.eval()
            with torch.no_grad(), user_code(self.path, quiet=True):
                self._require_steady(module, batches["mixed"])
                self._require_no_reads(module, batches["mixed"])
                self._require_own_row(module, batches["mixed"])
            with user_code(self.path, quiet=True, always=False):
                self._require_parity(module, batches)

    def _refuse_giants(self) -> None:
        """Counts the parameters of what looks like a giant without making them."""
        widths = (self.dims.numeric, *self.dims.hidden, self.dims.outputs)
        if sum(before * after for before, after in pairwise(widths)) <= MOST_PARAMETERS:
            return
        try:
            with torch.device("meta"):
                module = self.make()
        except SpecError:
            return  # not every network can be made without its values
        self._require_parameters(module)

    def _require_parameters(self, module: ScoringModule) -> None:
        shapeless = [name for name, parameter in module.network.named_parameters() if is_lazy(parameter)]
        if shapeless:
            raise bad_network(
                f"{self.path}: {shapeless[0]} has no shape before forward is called",
                remedy="give lazy layers their number of inputs: nn.Linear(dims.numeric, …) for nn.LazyLinear(…)",
            )
        count = sum(parameter.numel() for parameter in module.parameters())
        size = f"{count:,} parameters, {count * _BYTES / 1e6:,.1f} MB"
        if not any(parameter.requires_grad for parameter in module.parameters()):
            raise bad_network(f"{self.path} has no parameters that could be learnt")
        if count > MOST_PARAMETERS:
            raise bad_network(
                f"{self.path} makes a network of {size}; at most {MOST_PARAMETERS:,} are trained here",
                remedy="make the layers smaller (`training.estimator.hidden`)",
            )
        log.info("%s: %s", self.path.name, size)

    def _batches(self, module: ScoringModule) -> dict[str, Rows]:
        """Rows by what they are: real ones first, then made ones around the mean of the training rows."""
        from tallywright.training.matrices import Rows

        made = np.random.default_rng(self.seed)
        mean, spread = (getattr(module, name).cpu().numpy() for name in ("mean", "spread"))
        codes = self.dims.categories

        def rows(count: int, *, scale: float = 1.0, sign: int = 0, null: bool = False) -> Rows:
            z = made.normal(size=(count, len(mean))) * scale
            z = np.abs(z) * sign if sign else z
            numeric = np.full_like(z, np.nan) if null else mean + z * spread
            drawn = [made.integers(0, 2 if null else most, size=count) for most in codes]
            categorical = np.stack(drawn, axis=1) if drawn else np.zeros((count, 0))
            return Rows(numeric.astype(np.float32), categorical.astype(np.int64), np.zeros(count))

        there = len(self.rows.target)
        first = np.resize(np.arange(min(there, FEW)), FEW)
        real = self.rows.take(first)
        return {
            "real": real,
            "positive": rows(MANY, sign=1),
            "negative": rows(MANY, sign=-1),
            "mixed": rows(MANY),
            "small": rows(FEW, scale=1e-3),
            "large": rows(FEW, scale=1e3),
            "null or unseen": rows(FEW, null=True),
            "one positive": rows(1, sign=1),
            "one negative": rows(1, sign=-1),
        }

    def _logits(self, module: ScoringModule, rows: Rows) -> torch.Tensor:
        with user_code(self.path, quiet=True):
            return module.logits(**_given(rows))

    def _require_shape(self, module: ScoringModule, rows: Rows) -> None:
        module.eval()
        found = self._logits(module, rows)
        wanted = [len(rows.target), self.dims.outputs]
        told = f"[{', '.join(map(str, wanted))}]"
        if not isinstance(found, torch.Tensor):
            raise bad_network(f"{self.path}: forward gives a {type(found).__name__}; expected a tensor {told}")
        if list(found.shape) != wanted:
            raise bad_network(f"{self.path}: forward gives {list(found.shape)} for {wanted[0]} rows; expected {told}")
        if found.dtype != torch.float32:
            raise bad_network(f"{self.path}: forward gives {found.dtype}; expected torch.float32")

    def _require_finite(self, module: ScoringModule, batches: Mapping[str, Rows]) -> None:
        module.eval()
        for name, rows in batches.items():
            bad = int((~torch.isfinite(self._logits(module, rows))).any(dim=1).sum())
            told = f"forward gives nan or infinity for {bad} of {len(rows.target)} rows"
            if bad and name == "real":
                raise bad_network(f"{self.path}: {told}, before anything is trained")
            if bad:
                log.warning("%s: %s that are %s", self.path.name, told, name)

    def _require_gradients(self, module: ScoringModule) -> None:
        """One step of training on some real rows, its weights left as they are."""
        module.train()
        count = min(len(self.rows.target), 2 * FEW)
        rows = self.rows.take(slice(count))
        with user_code(self.path, quiet=True):
            loss = training_loss(module.objective, module.logits(**_given(rows)), torch.from_numpy(rows.target))
            if not loss.requires_grad:
                raise bad_network(f"{self.path}: what forward gives depends on no parameter, so nothing can be learnt")
            loss.backward()
        if not torch.isfinite(loss):
            raise bad_network(
                f"{self.path}: the loss of {count} rows is {float(loss.detach()):g}, before anything is trained"
            )
        module.zero_grad()

    def _require_steady(self, module: ScoringModule, rows: Rows) -> None:
        if not _close(module.logits(**_given(rows)), module.logits(**_given(rows))):
            raise bad_network(
                f"{self.path}: forward gives other results when it is asked again about the same rows",
                remedy="let layers draw at random only while they are trained (nn.Dropout, not functional.dropout), "
                "and keep nothing from call to call",
            )

    def _require_own_row(self, module: ScoringModule, rows: Rows) -> None:
        whole = module.logits(**_given(rows))
        for start, stop in ((0, 1), (MANY - 1, MANY), (100, 150)):
            part = type(rows)(*(getattr(rows, name)[start:stop] for name in ("numeric", "categorical", "target")))
            if not _close(whole[start:stop], module.logits(**_given(part))):
                raise bad_network(
                    f"{self.path}: what forward gives for a row depends on the rows beside it: "
                    f"{stop - start} of {MANY} rows have other logits alone",
                    remedy="use no statistics of the batch in evaluation mode: learn them (nn.BatchNorm1d), or take "
                    "them from the features",
                )

    def _require_no_reads(self, module: ScoringModule, rows: Rows) -> None:
        """Refuses a forward in which Python reads a value and goes on by it: a graph keeps the way that it took once.

        A read that changes nothing (an assertion) is no harm: whether it does is found by giving it other values.
        """
        given = _given(rows)
        with _Reads(self.path) as seen:
            expected = module.logits(**given)
        for line in sorted(seen.lines):
            for substitute in (_opposite, _far_away):
                try:
                    with _Reads(self.path, line, substitute):
                        found = module.logits(**given)
                except Exception:  # noqa: BLE001, S112 - it was an assertion
                    continue
                if not _close(expected, found):
                    raise self._branches(line)

    def _branches(self, line: int) -> SpecError:
        return bad_network(
            f"{self.path}: forward branches on values ({self.path.name} line {line}), which an exported graph cannot",
            remedy="use tensor operations that choose row by row, such as torch.where",
        )

    def _require_parity(self, module: ScoringModule, batches: Mapping[str, Rows]) -> None:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            try:
                graph = exported(module, present_inputs(batches["real"].numeric, batches["real"].categorical))
            except Exception as error:
                place = place_of(error, self.path)
                where = f" ({self.path.name} {place})" if place else ""
                text = (str(error).strip().splitlines() or [""])[0][:300]
                raise bad_network(
                    f"{self.path} cannot be exported to ONNX{where}: {type(error).__name__}: {text}"
                ) from error
        for name, rows in batches.items():
            inputs = present_inputs(rows.numeric, rows.categorical)
            try:
                gap = gap_between(module, graph, inputs)
            except PackageError as error:
                raise bad_network(f"{self.path}: {error.found}, on {len(rows.target)} rows that are {name}") from error
            if not gap <= _TOLERANCE:
                lines = [one.lineno for one in told if one.filename == str(self.path)]
                if lines:
                    raise self._branches(lines[0])
                raise bad_network(
                    f"{self.path}: the exported graph differs from forward by {gap:.3g} on {len(rows.target)} rows "
                    f"that are {name}",
                    remedy="take out of `forward` what depends on the values or the number of rows; only tensor "
                    "operations are traced",
                )


def try_alone(project: Project) -> None:
    """Tries a model's networks on made-up rows: as many columns as the spec has, five codes a category.

    Raises:
        SpecError: As a trial.
    """
    for section in project.spec.training.estimators:
        if isinstance(section, Torch):
            _try_alone(project, section)


def _try_alone(project: Project, section: Torch) -> None:
    from tallywright.training.matrices import Rows
    from tallywright.training.networks.module import NetworkDims, ScoringModule
    from tallywright.training.objective import Objective
    from tallywright.training.scaling import learn_scaling
    from tallywright.training.user_code.source import find_network

    spec = project.spec.training
    source = find_network(project.folder, section.module)
    made, kind = np.random.default_rng(spec.seed), TASKS[spec.task]
    classes = tuple(range(_CLASSES if kind.per_class else 2)) if kind.classifies else ()
    objective = Objective(spec.task, classes, (1.0,) * len(classes))
    numeric = made.normal(size=(_ROWS, len(spec.numeric))).astype(np.float32)
    numeric[made.random(numeric.shape) < _NULLS] = np.nan
    codes = (_CODES,) * len(spec.categorical)
    target = np.arange(_ROWS) % len(classes) if classes else made.normal(size=_ROWS)
    rows = Rows(numeric, made.integers(0, _CODES, size=(_ROWS, len(codes))), objective.encode(target))
    scaling = learn_scaling(numeric, spec.numeric)
    dims = NetworkDims(scaling.width, codes, section.hidden, section.dropout, objective.outputs)
    Trial(
        source.path,
        lambda: ScoringModule(source.build(dims, quiet=True), scaling, objective),
        dims,
        rows,
        spec.seed,
    ).run()


def _given(rows: Rows) -> dict[str, torch.Tensor | None]:
    inputs = present_inputs(rows.numeric, rows.categorical)
    return dict.fromkeys(("numeric", "categorical")) | {
        name: torch.from_numpy(np.array(matrix)) for name, matrix in inputs.items()
    }


def _close(one: torch.Tensor, other: torch.Tensor) -> bool:
    scale = max(1.0, float(one.abs().nan_to_num(0, 0, 0).max())) if one.numel() else 1.0
    return one.shape == other.shape and bool(torch.allclose(one, other, rtol=0, atol=_SAME * scale, equal_nan=True))


@contextmanager
def _randomness_kept() -> Iterator[None]:
    """Puts the random numbers of Python and numpy back; torch's are the business of `deterministic`."""
    python, numbers = random.getstate(), np.random.get_state()  # noqa: NPY002 - what a network may use
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numbers)  # noqa: NPY002 - as above


_READERS: Final = frozenset({"__bool__", "__float__", "__int__", "__index__", "item", "tolist", "numpy", "__array__"})


class _Reads(TorchFunctionMode):  # type: ignore[misc] # torch is untyped here
    """Notes the lines of a file that read values of tensors; those of one line are given other values."""

    def __init__(self, path: Path, line: int = 0, substitute: Callable[[Any], Any] | None = None) -> None:
        super().__init__()
        self._path = str(path)
        self._line = line
        self._substitute = substitute
        self._done = 0
        self.lines: set[int] = set()

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        del types
        result = function(*args, **(kwargs or {}))
        caller = sys._getframe(1)  # noqa: SLF001 - the frame that asked
        if getattr(function, "__name__", "") not in _READERS or caller.f_code.co_filename != self._path:
            return result
        self.lines.add(caller.f_lineno)
        if self._substitute is None or caller.f_lineno != self._line or self._done >= _MOST_SUBSTITUTED:
            return result
        self._done += 1
        return self._substitute(result)


def _opposite(value: Any) -> Any:
    if isinstance(value, list):
        return [_opposite(one) for one in value]
    return not value if isinstance(value, bool) else -value - 1


def _far_away(value: Any) -> Any:
    if isinstance(value, list):
        return [_far_away(one) for one in value]
    return not value if isinstance(value, bool) else abs(value) * 2 + 1_000_000
