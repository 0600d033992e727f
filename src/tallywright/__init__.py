"""Tallywright: one YAML file per model becomes Airflow DAGs that train, gate, score, watch and prove."""

__version__ = "0.1.0"
