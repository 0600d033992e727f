"""Packages with something wrong inside, whose manifest agrees with it: digests do not give them away."""

from __future__ import annotations

import dataclasses
import shutil

import pytest

from tallywright.packaging.manifest import MANIFEST, PackageManifest, entry_of
from tallywright.packaging.package import load_package


@pytest.fixture
def forged():
    """Gives a package other files (None: takes one out), and a manifest that says so."""

    def forge(package, files):
        folder = package.folder.with_name(f"{package.folder.name}_forged")
        shutil.copytree(package.folder, folder)
        entries = dict(package.manifest.files)
        for name, content in files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(content)
            entries[name] = entry_of(content)
        (folder / MANIFEST).unlink()
        PackageManifest(files=entries).write(folder)
        return load_package(folder)

    return forge


@pytest.fixture
def with_section(project):
    """The project with other values in a section of its spec."""

    def changed(section, **values):
        spec = project.spec
        made = type(getattr(spec, section)).model_validate(getattr(spec, section).model_dump() | values)
        return dataclasses.replace(project, spec=spec.model_copy(update={section: made}))

    return changed
