"""Airflow: the plan of a model becomes DAGs, and each task is one `tally run` command line."""
