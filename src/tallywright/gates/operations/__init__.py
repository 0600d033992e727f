"""The operations gate: the checklist of a deployment, run on a candidate's package in a process of its own."""
