"""The `airflow` command with the DAG library imported first, for the embedded scheduler.

Its workers fork from it, so every task starts with these modules in place and reads only the spec anew: about a second
of CPU time less a task, which on two cores is a third of what a small step costs.
"""

from __future__ import annotations


def main() -> None:
    """Imports, then hands over to Airflow's own command line with the same arguments."""
    from airflow.__main__ import main as airflow

    import tallywright.orchestration.dags
    import tallywright.orchestration.projects  # noqa: F401 - imported for the forks

    airflow()


if __name__ == "__main__":
    main()
