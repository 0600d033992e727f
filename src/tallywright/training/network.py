"""What a project's network file may import: the shapes that its `build` is given."""

from __future__ import annotations

from tallywright.training.networks.module import NetworkDims

__all__ = ["NetworkDims"]
