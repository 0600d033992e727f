"""A whole Airflow on this machine, for the demo, for tests and for a look around."""
