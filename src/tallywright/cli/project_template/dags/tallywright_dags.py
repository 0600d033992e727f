"""Airflow DAGs of every model in this project. All logic stands in `tallywright.orchestration`."""

from pathlib import Path

from tallywright.orchestration.projects import project_dags

globals().update(project_dags(Path(__file__).parents[1]))
