"""The version that is packaged, as every format sees it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tallywright.packaging.package import Package


@dataclass(frozen=True, slots=True)
class Exported:
    """A verified package, and the number that its registry gave it."""

    package: Package
    version: int

    @property
    def module(self) -> str:
        """The name under which Python imports the model."""
        return f"{self.package.meta.model}_model"

    @property
    def distribution(self) -> str:
        """The name under which pip knows the model, as it stands in file names."""
        return re.sub("_+", "_", self.module)

    @property
    def distribution_version(self) -> str:
        """The version by PEP 440: the registry's number, and of the digest what tells equal numbers apart."""
        return f"{self.version}+d{self.package.digest[:12]}"

    def rendered(self, template: str, **values: Any) -> str:
        """A template of this folder, filled in."""
        import jinja2

        text = (files("tallywright.lifecycle.export") / "templates" / template).read_text(encoding="utf-8")
        environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True, autoescape=False)  # noqa: S701 - no HTML
        return environment.from_string(text).render(
            exported=self, package=self.package, meta=self.package.meta, **values
        )
