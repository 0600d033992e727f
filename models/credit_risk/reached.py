"""What the scores of some days reached, beside the best that anything can: the true probabilities of the generator.

`python models/credit_risk/reached.py --from 2024-01-01 --to 2024-01-31`, with the world's arguments as for
`generate.py`. Days that were not scored are left out, and so are loans that were never paid out.
"""

from __future__ import annotations

import sys

import numpy as np
from loans.arguments import parser_of, world_of

import tallywright
from tallywright.metrics import calibration_error, log_loss, roc_auc


def main() -> None:
    """Prints one line for the model's scores and one for the true probabilities."""
    parser = parser_of("What scored days reached, beside the best possible.")
    given = parser.parse_args()
    world = world_of(parser, given)
    wanted = ["score_date", "application_id", "probability"]
    rows = tallywright.scores("credit_risk", given.first, to=given.last, columns=wanted, allow_missing=True)
    days = sorted(set(rows["score_date"].to_pylist()))
    if not days:
        parser.error(f"no day from {given.first} to {given.last} was scored")
    found = [world.outcomes(day) for day in days]
    known = np.concatenate([~np.isnat(outcomes.reported_at) for outcomes in found])
    names = np.concatenate([outcomes.application_id for outcomes in found])[known]
    label = np.concatenate([outcomes.defaulted for outcomes in found])[known]
    truth = np.concatenate([outcomes.probability for outcomes in found])[known]
    scored = dict(zip(rows["application_id"].to_pylist(), rows["probability"].to_pylist(), strict=True))
    there = np.array([name in scored for name in names])
    model = np.array([scored[name] for name in names[there]])
    sys.stdout.write(f"{len(days)} days, {there.sum():,} loans, {label[there].mean():.3f} of them defaulted\n")
    for told, chance in (("the scores", model), ("the truth", truth[there])):
        y = label[there]
        sys.stdout.write(
            f"{told:>10}: ROC AUC {roc_auc(y, chance):.4f}, log loss {log_loss(y, chance):.4f}, "
            f"calibration error {calibration_error(y, chance):.4f}\n"
        )


if __name__ == "__main__":
    main()
