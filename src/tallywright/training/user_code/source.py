"""The model project's network file: read once, inspected without running it, and its `build`.

No torch here before `build` is called: `tally validate` looks at the file too.
"""

from __future__ import annotations

import ast
import hashlib
import sys
import warnings
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING

from tallywright.errors import SpecError, did_you_mean
from tallywright.training.user_code.door import bad_network, user_code

if TYPE_CHECKING:
    from pathlib import Path

    import torch


@dataclass(frozen=True, slots=True)
class NetworkSource:
    """The project's network file, with its content and the sha256 of that."""

    path: Path
    sha256: str
    content: bytes = field(default=b"", repr=False)

    @property
    def text(self) -> str:
        """The content as text.

        Raises:
            SpecError: Bytes that are no UTF-8.
        """
        return read_text(self.path, self.content)

    def build(self, dims: object, *, quiet: bool = False) -> torch.nn.Module:
        """Runs the file's `build(dims)`.

        Args:
            dims: The shapes, a `NetworkDims`.
            quiet: Leave out of the log what the file prints.

        Raises:
            SpecError: The file cannot be run, has no `build`, or `build` gives no torch module.
        """
        import torch

        with user_code(self.path, quiet=quiet):
            build = getattr(self._module(), "build", None)
            network = build(dims) if callable(build) else None
        if not callable(build):
            raise bad_network(f"the network file {self.path} defines no function `build`")
        if not isinstance(network, torch.nn.Module):
            raise bad_network(f"{self.path}: `build` gives a {type(network).__name__}")
        return network

    def _module(self) -> ModuleType:
        """The module, of the very bytes whose digest is recorded."""
        module = ModuleType(f"tallywright_network_{self.sha256[:16]}")
        module.__file__ = str(self.path)
        # Dataclasses and typing look their module up by its name.
        sys.modules[module.__name__] = module
        exec(compile(self.text, str(self.path), "exec"), module.__dict__)  # noqa: S102 - it is what the file is for
        return module


def find_network(folder: Path, relative: str) -> NetworkSource:
    """The network file of a model project; a link that leads out of the project is refused.

    Raises:
        SpecError: No such file, or not inside the project's folder; or it cannot be read.
    """
    path = (folder / relative).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise bad_network(f"the network file {folder / relative} leads to {path}, outside of the model project")
    if not path.is_file():
        raise bad_network(f"the network file {folder / relative} does not exist")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise bad_network(f"the network file {path} cannot be read: {error.strerror}") from error
    return NetworkSource(path, hashlib.sha256(content).hexdigest(), content)


def read_text(path: Path, content: bytes | None = None) -> str:
    """The text of a file that goes into a package.

    Raises:
        SpecError: It cannot be read, or is no UTF-8; names the first byte that is none, and its line.
    """
    try:
        content = path.read_bytes() if content is None else content
        return content.decode("utf-8-sig" if path.suffix == ".py" else "utf-8")
    except OSError as error:
        raise SpecError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise SpecError(
            f"{path} line {line}: byte {error.object[error.start]:#04x} is no UTF-8",
            expected="a text file in UTF-8",
            remedy="save the file as UTF-8",
        ) from error


def network_problem(folder: Path, relative: str) -> str:
    """What is wrong with a network file, found without running it; empty when nothing is.

    Compiled and inspected: bytes, syntax, and whether there is a `build` that can be called with one argument.
    """
    try:
        source = find_network(folder, relative)
        text = source.text
    except SpecError as error:
        return error.found
    name = str(source.path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # said when it runs
            tree = ast.parse(text, name)
            compile(text, name, "exec", dont_inherit=True)
    except SyntaxError as error:
        return f"{name} line {error.lineno or 1}: {type(error).__name__}: {error.msg}"
    except (ValueError, RecursionError, MemoryError, OverflowError) as error:
        return f"{name} cannot be compiled: {error}"
    problem = _problem_of_build(tree)
    return problem and f"{name}{problem}"


def _problem_of_build(tree: ast.Module) -> str:
    top = _Top()
    top.visit(tree)
    build = top.bound.get("build")
    functions = [name for name, node in top.bound.items() if isinstance(node, ast.FunctionDef)]
    if build is None:
        there = f"; it has {', '.join(functions)}" if functions else ", and no other function"
        return "" if top.opaque else f" defines no function `build`{did_you_mean('build', functions)}{there}"
    if isinstance(build, ast.AsyncFunctionDef):
        return f" line {build.lineno}: `build` is asynchronous; expected `def build(dims)`"
    if isinstance(build, ast.FunctionDef) and not _takes_one(build.args):
        return f" line {build.lineno}: `build` cannot be called with one argument; expected `def build(dims)`"
    return ""


class _Top(ast.NodeVisitor):
    """The names that a module binds at its top, also inside `if` and `try`.

    `opaque` where some are only known when it runs: `import *`, or names that are set by other means.
    """

    def __init__(self) -> None:
        self.bound: dict[str, ast.AST] = {}
        self.opaque = False

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self.bound[node.name] = node

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self.bound[node.name] = node

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.bound[node.name] = node

    def visit_Lambda(self, node: ast.Lambda) -> None:
        """Binds nothing here."""

    def visit_Import(self, node: ast.Import) -> None:
        self.bound |= {alias.asname or alias.name.partition(".")[0]: node for alias in node.names}

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        self.opaque = self.opaque or any(alias.name == "*" for alias in node.names)
        self.bound |= {alias.asname or alias.name: node for alias in node.names}

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Store):
            self.bound[node.id] = node
        self.opaque = self.opaque or node.id in {"exec", "globals", "setattr", "vars"}


def _takes_one(arguments: ast.arguments) -> bool:
    positional = [*arguments.posonlyargs, *arguments.args]
    needed = len(positional) - len(arguments.defaults)
    keywords = [
        one for one, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if default is None
    ]
    return not keywords and needed <= 1 and (bool(positional) or arguments.vararg is not None)
