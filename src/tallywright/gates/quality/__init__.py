"""The quality gate: what a candidate must show on rows that neither it nor the champion was fitted on."""
