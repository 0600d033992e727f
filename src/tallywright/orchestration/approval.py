"""The approval task: a person's answer in the Airflow UI."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import ApprovalOperator

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tallywright.lifecycle.plan import Step
    from tallywright.spec import ModelSpec


def approval(spec: ModelSpec, step: Step, common: Mapping[str, Any]) -> ApprovalOperator:
    """Makes the task that waits for Approve or Reject; it has no default, so a timeout fails and never approves.

    The summary shows what the gates said. Rejecting is a success that skips the promotion.
    """
    users = [{"id": name, "name": name} for name in spec.registry.approvers]
    return ApprovalOperator(
        task_id=step.name,
        subject=f"Promote a new version of {spec.name}?",
        body="Registered: {{ ti.xcom_pull(task_ids='register') }}\n\n"
        "Quality gate: {{ ti.xcom_pull(task_ids='quality_gate') }}\n\n"
        "Operations gate: {{ ti.xcom_pull(task_ids='operations_gate') }}",
        response_timeout=step.timeout,
        assigned_users=users or None,
        doc_md=step.help,
        **common,
    )
