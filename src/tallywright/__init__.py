"""Tallywright: one YAML file per model becomes Airflow DAGs that train, gate, register, score and monitor it."""

__version__ = "0.1.0"
