"""The spec: one YAML file per model, layered with an environment overlay, validated as a whole."""

from tallywright.spec.environment import Environment
from tallywright.spec.load import Project, load_project, model_names
from tallywright.spec.model import ModelSpec

__all__ = ["Environment", "ModelSpec", "Project", "load_project", "model_names"]
