"""The context of a run, which every step is given, and the verified packages of model versions.

A package comes from this machine's cache, else from the registry, and is never used unverified.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tallywright.errors import PackageError, StorageError, TrackingError, UsageError
from tallywright.observability import log
from tallywright.packaging.package import PackageCache, load_package
from tallywright.redaction import without_credentials

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import date

    from tallywright.data.delta.lake import Lake
    from tallywright.gates.validate import DayGates
    from tallywright.packaging.package import Package
    from tallywright.records import ModelRef
    from tallywright.registry.cards import CardFiles
    from tallywright.scoring.engines.base import Engines
    from tallywright.spec import Environment, ModelSpec, Project
    from tallywright.training.adoption.adopted import Adopted

    CardMaker = Callable[[Project, Lake, int], CardFiles]

CODE_VERSION_VARIABLE = "TALLYWRIGHT_CODE_VERSION"
_CODE: Final = ("models", "expectations", "conf", "dags", "jobs")
"""The folders of a project whose files decide what is computed."""
_NOTHING_RUNS: Final = ("-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}")
"""What a repository's own configuration may name as a program to run when somebody merely asks for its state."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The options of a command line that steps use.

    Attributes:
        last: The last date of a range, which starts on the run's date.
        effective_from: The first date a promotion or rollback holds for; the run's date when not given.
        version: A registered model version, where a command is about one.
        source: The environment whose registry has that number, where it is not this one's own.
        by: Who asked or approved.
        key: The private key that signs an approval for `by`.
        reason: Why.
        act: The caller starts the training that a decision asks for: the decision is claimed, not only written.
        force: Score again although the inputs are equal.
        rescore: Score again what a version scored that was withdrawn since.
        dry_run: Report what maintenance would do, change nothing.
        page: Let the day gate judge a day again that passed, and write its page anew.
        allow_later_lines: Promote or roll back before the effective date of lines that are recorded, which stand.
        adopted: A model from elsewhere that becomes a version in place of one that is trained.
    """

    last: date | None = None
    effective_from: date | None = None
    version: int | None = None
    source: str = ""
    by: str = ""
    key: Path | None = None
    reason: str = ""
    act: bool = False
    force: bool = False
    rescore: bool = False
    dry_run: bool = False
    page: bool = False
    allow_later_lines: bool = False
    adopted: Adopted | None = None


class Shared:
    """What the steps of a run, and the days of a range, share: open tables, verified packages, the code version."""

    def __init__(self, project: Project) -> None:
        self._project = project

    @cached_property
    def lake(self) -> Lake:
        """The lake of the environment; its small tables are kept small by whoever writes to them."""
        from tallywright.data.delta.lake import Lake

        lake = Lake.of(self._project.environment)
        lake.keep_small = self._keep_small
        return lake

    def _keep_small(self, lake: Lake, table: str) -> None:
        from tallywright.lifecycle.small_tables import keep_small

        retention = timedelta(days=self._project.spec.maintenance.retention_days)
        keep_small(lake, table, retention=retention, now=datetime.now(UTC))

    @cached_property
    def packages(self) -> VerifiedPackages:
        """The packages that were loaded so far."""
        return VerifiedPackages()

    @cached_property
    def code_version(self) -> str:
        """The commit of the project's code, with `+changed` when files differ from it or it lacks some."""
        return code_version(self._project.root)


@dataclass(frozen=True)
class RunContext:
    """One run of one pipeline, for one business date."""

    project: Project
    day: date
    run_id: str
    options: RunOptions = field(default_factory=RunOptions)
    engines: Engines | None = None
    """Engines that a range of days shares; a single day starts and ends its own."""
    day_gates: DayGates | None = None
    """What the day gates of a range share; a single day has its own."""
    card: CardMaker | None = None
    """Makes the card of a version: what the read side hands over; without it no card is attached."""
    given: Shared | None = field(default=None, repr=False)
    """What a range of days shares; a single day makes its own."""

    @property
    def spec(self) -> ModelSpec:
        """The model's spec."""
        return self.project.spec

    @cached_property
    def shared(self) -> Shared:
        """What the steps of this run share."""
        return self.given or Shared(self.project)

    @property
    def effective_from(self) -> date:
        """The first score date that a promotion or rollback of this run holds for: as asked, else the run's date."""
        return self.options.effective_from or self.day

    @property
    def lake(self) -> Lake:
        """The lake of the environment."""
        return self.shared.lake

    @cached_property
    def production(self) -> RunContext:
        """This run with the lake and the registry of production, which a training environment only reads."""
        return self._with(self.project.environment.in_production)

    @cached_property
    def training(self) -> RunContext:
        """This run with the lake and the registry of training, which production only reads."""
        return self._with(self.project.environment.in_training)

    def _with(self, environment: Environment) -> RunContext:
        if environment is self.project.environment:
            return self
        return replace(self, project=replace(self.project, environment=environment), given=None)

    @cached_property
    def folder(self) -> Path:
        """The folder that the steps of this run share; made on first use."""
        path = Path(self.project.environment.storage.work) / "runs" / self.spec.name / safe_name(self.run_id)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"the run folder {path} cannot be made: {error.strerror}",
                remedy="check storage.work in the environment overlay, its permissions and free space",
            ) from error
        return path

    @property
    def code_version(self) -> str:
        """The version of the project's code: one for all days of a range."""
        return self.shared.code_version

    @property
    def now(self) -> datetime:
        """The wall clock, for what is recorded; never for business time."""
        return datetime.now(UTC)


def safe_name(run_id: str) -> str:
    """A run id as a folder name: readable, unique, without characters that a file system might refuse."""
    clean = re.sub(r"[^A-Za-z0-9._-]+", "_", run_id)[:80]
    # A name of dots alone is another folder, and one that begins with a dot is easily overlooked.
    clean = re.sub(r"^\.+", "_", clean)
    return clean if clean == run_id else f"{clean}-{hashlib.sha256(run_id.encode()).hexdigest()[:8]}"


def code_version(root: Path) -> str:
    """`$TALLYWRIGHT_CODE_VERSION`, or the git commit of `root`, or the distribution's version."""
    given = os.environ.get(CODE_VERSION_VARIABLE)
    if given:
        return given
    commit = _git(root, "rev-parse", "HEAD")
    # A repository around the project that holds none of its models is somebody else's.
    if not commit or not _git(root, "ls-files", "--", "models"):
        from tallywright import __version__

        return f"tallywright-{__version__}"
    # A submodule has a configuration of its own, so its files are not looked at; which commit it is at, is.
    asked = ("status", "--porcelain", "--untracked-files=no", "--ignore-submodules=dirty")
    changed = _git(root, *_without_filters(root), *asked)
    unknown = _git(root, "ls-files", "--others", "--exclude-standard", "--", *_CODE)
    return f"{commit}+changed" if changed or unknown else commit


def repository_of(root: Path) -> str:
    """The address of the project's git repository, without a user: of its remote `origin`, else of its folder.

    Empty where there is no repository.
    """
    top = _git(root, "rev-parse", "--show-toplevel")
    remote = _git(root, "config", "--local", "--get", "remote.origin.url") if top else ""
    if not remote:
        return Path(top).as_uri() if top else ""
    host, short, path = remote.partition(":")
    if short and "://" not in remote and "/" not in host:  # git's own short form, user@host:path
        return f"ssh://{host.rpartition('@')[2]}/{path}"
    return without_credentials(remote)


def _without_filters(root: Path) -> list[str]:
    """Options that turn off the filters of the repository's own configuration: git would run them to compare a file."""
    found = _git(root, "config", "--local", "--includes", "--name-only", "--get-regexp", r"^filter\..*")
    names = sorted({line.rpartition(".")[0] for line in found.splitlines() if line})
    return [word for name in names for word in ("-c", f"{name}.clean=", "-c", f"{name}.process=")]


def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", *_NOTHING_RUNS, "-C", str(root), *arguments],  # noqa: S607 - git from PATH is what a developer uses
            capture_output=True,
            text=True,
            check=False,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def require_day(spec: ModelSpec, day: date) -> date:
    """Returns the date; raises when the schedule does not cover it.

    Raises:
        UsageError: Before the first or after the last score date.
    """
    if not spec.schedule.covers(day):
        raise UsageError(
            f"{spec.name} has no score date {day}",
            expected=f"a date from {spec.schedule.start_date} to {spec.schedule.end_date or 'now on'}",
            remedy="see schedule.start_date and schedule.end_date in model.yaml",
        )
    return day


def require_effective_date(project: Project, day: date, *, goes_back: bool = False) -> date:
    """Returns the first date of a promotion or rollback; raises when the schedule does not cover it.

    Args:
        project: Whose schedule.
        day: The first score date.
        goes_back: For a rollback: the date of a recorded line will do too, wherever it is. Older versions wrote lines
            after the schedule's end, and such a champion has to be taken back from its own date on.

    Raises:
        UsageError: Before the first or after the last score date.
    """
    if goes_back and not project.spec.schedule.covers(day):
        from tallywright.data.delta.lake import Lake
        from tallywright.registry.promotion_log import PromotionLog, champion_lines

        entries = PromotionLog(Lake.of(project.environment), project.spec).entries()
        if any(line.effective_from == day for line in champion_lines(entries)):
            return day
    return require_day(project.spec, day)


class VerifiedPackages:
    """The packages that a run (or a range of days) has verified already, by digest."""

    def __init__(self) -> None:
        self._packages: dict[str, Package] = {}

    def of(self, project: Project, ref: ModelRef) -> Package:
        """As `package_of`, hashed once unless its files were touched; its graph is verified again whenever it is read.

        Raises:
            TallyError: As `package_of`.
        """
        found = self._packages.get(ref.digest)
        if found is None or not found.untouched:
            found = self._packages[ref.digest] = package_of(project, ref)
        return found


def packages_of(
    project: Project, models: Sequence[ModelRef], verified: VerifiedPackages | None = None
) -> tuple[dict[str, Package], dict[str, str]]:
    """The packages by digest, and the reasons why others are missing; the champion's must be there unless covered.

    Args:
        project: Whose models.
        models: The champion first.
        verified: The packages that this run has loaded before.

    Raises:
        PackageError: The champion's package is not the version with its digest.
        TrackingError: The champion's is not in the cache, and MLflow cannot be reached.
    """
    fallback = project.spec.scoring.fallback
    covered = fallback is not None and "package" in fallback.covers
    verified = verified or VerifiedPackages()
    found: dict[str, Package] = {}
    missing: dict[str, str] = {}
    for ref in models:
        if ref.is_constant:
            continue
        try:
            found[ref.digest] = verified.of(project, ref)
        except (PackageError, TrackingError) as error:
            if ref is models[0] and not covered:
                raise
            missing[ref.digest] = error.found
    return found, missing


def package_of(project: Project, ref: ModelRef) -> Package:
    """The verified package of a version; MLflow is asked only when the cache does not hold it.

    Raises:
        PackageError: What the registry holds is not the version with this digest.
        TrackingError: Not in the cache, and MLflow cannot be reached.
    """
    cached = PackageCache(Path(project.environment.storage.cache)).get(ref.digest)
    if cached is not None:
        return cached
    from tallywright.registry.versions import fetch

    log.info("fetching %s version %d from the registry", ref.name, ref.version)
    return load_package(fetch(project, ref.version, ref.digest), digest=ref.digest)
