"""Makes Airflow show an import error for each model without DAGs: its spec is broken, or none can be made of it.

It stands apart from `tallywright_dags.py` because a file that raises loses all of its DAGs.
"""

from pathlib import Path

from tallywright.orchestration.projects import require_valid_specs

require_valid_specs(Path(__file__).parents[1])
