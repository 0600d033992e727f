"""Loan applications, and how they were repaid: made by a documented rule, so that the truth about them is known.

`World` gives a day's applications as they are filed, the repayments that are reported on a day, and the true
probability of default of each application. Faults are asked for by their dates (`faults`).
"""

from loans.faults import FAULTS, parse_fault
from loans.files import write_days
from loans.outcomes import LABEL_DAYS
from loans.schemas import APPLICATIONS, REPAYMENTS, table_of
from loans.world import World

__all__ = [
    "APPLICATIONS",
    "FAULTS",
    "LABEL_DAYS",
    "REPAYMENTS",
    "World",
    "parse_fault",
    "table_of",
    "write_days",
]
