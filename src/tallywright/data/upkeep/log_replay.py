"""Replays a table's log by what our own commits say of it: which files should be live, and who changed the table else.

The information of each of our commits names the files that it adds. So a file that another writer added, one that he
removed and a commit whose file in the log was changed are told apart from what we wrote. Commits of before the first
one that names its files are taken as they stand.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from tallywright.data.delta.replacing import DATE_KEY, FILES_KEY, VERSION_KEY, WRITER_KEY
from tallywright.data.delta.standing import files_of_json
from tallywright.score_period import DATE_COLUMN, HOUR_COLUMN, period_of_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tallywright.records import CommittedFile

STANDS_KEY: Final = "tallywright.stands"
"""In the information of a repair: the files that it names are all that stand from here on."""
_MANIFEST_KEY: Final = "userMetadata"
Expected = dict[str, "CommittedFile | None"]


@dataclass(frozen=True, slots=True)
class LoggedCommit:
    """One commit as its file in the log has it; paths are decoded, sizes by path."""

    version: int
    info: Mapping[str, Any]
    added: Mapping[str, int]
    removed: frozenset[str]
    data_change: bool
    transactions: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, version: int, text: str) -> LoggedCommit:
        """Reads the file of a commit.

        Raises:
            ValueError: It is not what a commit is.
        """
        actions = [json.loads(line) for line in text.splitlines() if line.strip()]
        if not all(isinstance(action, dict) for action in actions) or not actions:
            raise ValueError("it holds no actions")
        try:
            added = {unquote(one["add"]["path"]): int(one["add"]["size"]) for one in actions if "add" in one}
            removed = frozenset(unquote(one["remove"]["path"]) for one in actions if "remove" in one)
            transactions = {one["txn"]["appId"]: int(one["txn"]["version"]) for one in actions if "txn" in one}
        except (KeyError, TypeError) as error:
            raise ValueError(f"an action lacks {error}") from error
        info: Mapping[str, Any] = next((one["commitInfo"] for one in actions if "commitInfo" in one), {})
        changes = any(one[kind].get("dataChange", True) for one in actions for kind in ("add", "remove") if kind in one)
        return cls(version, info, added, removed, changes, transactions)

    @property
    def files(self) -> tuple[CommittedFile, ...] | None:
        """The files that it names as its own; None where it names none."""
        if FILES_KEY in self.info:
            return files_of_json(self.info[FILES_KEY])
        files = self._manifest.get("files")
        return files_of_json(json.dumps(files)) if files else None

    @property
    def day(self) -> str:
        """The period whose rows it replaces; empty where it is of none."""
        manifest = self._manifest
        return str(self.info.get(DATE_KEY) or manifest.get(HOUR_COLUMN) or manifest.get(DATE_COLUMN) or "")

    @property
    def is_ours(self) -> bool:
        """True for a commit that this product made, whatever it says of its files."""
        return self.files is not None or WRITER_KEY in self.info or "commit_id" in self._manifest

    @property
    def is_another(self) -> bool:
        """True when it says that it is another version than its file's name."""
        return VERSION_KEY in self.info and str(self.info[VERSION_KEY]) != str(self.version)

    @property
    def by(self) -> str:
        """Who made it and how, for people."""
        return f"{self.info.get('operation', 'a commit')} by {self.info.get('engineInfo', 'another writer')}"

    @property
    def _manifest(self) -> Mapping[str, Any]:
        try:
            found = json.loads(self.info.get(_MANIFEST_KEY) or "{}")
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


@dataclass(slots=True)
class Replay:
    """What a table should hold.

    Attributes:
        expected: The files that should be live, with what their commit says of them (None where it says nothing).
        since: The version of the first commit that names its files; None while there is none.
        rewritten: What others rewrote without changing rows, as they say: added and removed paths.
        problems: Commits that are not what they say.
        foreign: Who else changed rows, by a path that he added or removed.
        transactions: By app transaction, the newest commit that has it, and the version that it says.
    """

    expected: Expected = field(default_factory=dict)
    since: int | None = None
    rewritten: list[tuple[frozenset[str], frozenset[str]]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    foreign: dict[str, str] = field(default_factory=dict)
    transactions: dict[str, tuple[int, int]] = field(default_factory=dict)

    def add(self, commit: LoggedCommit) -> None:
        """Goes one commit on."""
        if commit.is_another:
            self.problems.append(f"version {commit.version} of the log is a copy of version {commit.info[VERSION_KEY]}")
        self.transactions |= {name: (commit.version, told) for name, told in commit.transactions.items()}
        if self.since is None and commit.files is not None:
            self.since = commit.version
        if commit.files is None and (self.since is None or commit.is_ours):
            self._take(commit)
        elif commit.files is not None:
            self._take_own(commit, commit.files)
        elif not commit.data_change and commit.removed:
            self._rewrite(commit)
        else:
            self.foreign |= dict.fromkeys([*commit.added, *commit.removed], f"version {commit.version}, {commit.by}")

    def _take(self, commit: LoggedCommit) -> None:
        self._clear(commit)
        self.expected |= dict.fromkeys(commit.added)

    def _take_own(self, commit: LoggedCommit, files: Iterable[CommittedFile]) -> None:
        named = {file.path: file for file in files}
        if STANDS_KEY in commit.info:
            self.expected = dict(named)
            return
        if {path: file.size for path, file in named.items()} != dict(commit.added):
            self.problems.append(f"version {commit.version} of the log names other files than it adds")
        self._clear(commit)
        self.expected |= named

    def _clear(self, commit: LoggedCommit) -> None:
        gone = {path for path in self.expected if commit.day and str(period_of_path(path)) == commit.day}
        for path in gone | commit.removed:
            self.expected.pop(path, None)

    def _rewrite(self, commit: LoggedCommit) -> None:
        """Takes files that replace exactly files that are expected; their rows are compared later."""
        if not commit.removed <= self.expected.keys():
            self.foreign |= dict.fromkeys(commit.added, f"version {commit.version}, {commit.by}")
            return
        for path in commit.removed:
            del self.expected[path]
        self.expected |= dict.fromkeys(commit.added)
        self.rewritten.append((frozenset(commit.added), commit.removed))
