"""The small tables: what is stored keeps its columns and types, and the page about them is current."""

from __future__ import annotations

import pyarrow as pa
import pytest

from tallywright.data.delta.lake import Lake
from tallywright.data.delta.table import Kind, Table
from tallywright.reporting.tables import DECLARATIONS, document

TYPES = {
    "date": pa.date32(),
    "instant": pa.timestamp("us", "UTC"),
    "int": pa.int64(),
    "int32": pa.int32(),
    "float": pa.float64(),
    "bool": pa.bool_(),
    "text": pa.string(),
    "texts": pa.list_(pa.string()),
}
STORED = {
    "inputs": """
        score_date:date version:int fingerprint:text rows:int quarantined:int table_id:text
        recorded_at:instant raw_digest:text reading:int files_json:text raw_files_json:text code_version:text
        earlier_json:text
    """,
    "unreadable": "model_name:text source:text file:text line:int reason:text raw_row:text",
    "tallies": """
        score_date:date generation:int version:int reason:text rows:int model_versions:text
        input_version:int input_fingerprint:text inputs_digest:text key_digest:text profile_digest:text
        engine:text run_id:text code_version:text committed_at:instant manifest_json:text files_json:text
    """,
    "profile": """
        score_date:date generation:int model_version:int role:text definition_digest:text rows:int
        mean_score:float profile_json:text
    """,
    "drift": """
        score_date:date window_start:date window_end:date granularity:text model_name:text model_id:text
        model_version:int slice_key:text slice_value:text column_name:text drift_type:text baseline:text
        metric:text variant:text value:float threshold:float p_value:float violated:bool rows:int
        reference_rows:int generation:int definition_digest:text reference_bound:float
        not_judged:text
    """,
    "performance": """
        score_date:date window_start:date window_end:date granularity:text as_of:date label_age_days:int
        mature:bool model_name:text model_version:int role:text slice_key:text slice_value:text metric:text
        value:float lower:float upper:float bound_min:float bound_max:float violated:bool rows:int known:int
        never:int missing:int note:text generation:int labels_fingerprint:text
    """,
    "label_readings": """
        score_date:date model_name:text as_of:date known:int never:int fingerprint:text mature_fingerprint:text
        recorded_at:instant
    """,
    "periods": """
        score_date:date revision:int model_name:text state:text reason:text detail:text checks:texts exit_code:int
        generation:int run_id:text recorded_at:instant superseded:bool superseded_at:instant
    """,
    "decisions": """
        score_date:date revision:int model_name:text state:text retrain:bool reasons:texts signals_json:text
        policy_digest:text decision_id:text recorded_at:instant superseded:bool superseded_at:instant
    """,
    "actions": """
        score_date:date model_name:text action:text decision_id:text run_id:text claimed_at:instant
    """,
    "gates": """
        report_id:text recorded_at:instant run_id:text model:text gate:text subject:text gate_verdict:text
        position:int32 check_name:text verdict:text observed_number:float observed_text:text bound:text
        evidence:text judged_by:text found:text sequence:int
    """,
    "promotions": """
        model:text sequence:int action:text model_version:int package_digest:text trained_through:date
        effective_from:date recorded_at:instant approver:text reason:text decision_json:text request:text
        digest:text authentication:text recorded_by:text evidence:text answer_json:text stage_json:text
    """,
    "heads": """
        log:text sequence:int digest:text recorded_at:instant
    """,
    "verified": """
        model_name:text verified_at:instant deep:bool findings:int findings_json:text seals_json:text
        run_id:text versions_json:text
    """,
    "versions": """
        model:text model_version:int package_digest:text trained_through:date gates_passed:bool
        recorded_at:instant run_id:text metrics_json:text reason:text author:text recorded_by:text verdict:text
        judged_digest:text evidence_json:text code_version:text snapshot_json:text source:text
        source_version:int
    """,
}
"""The lakes of earlier versions hold these: a column may be added at an end, nothing else."""

declared = pytest.mark.parametrize("declaration", DECLARATIONS, ids=lambda one: one.what)


@declared
def test_columns_are_those_that_are_stored(declaration) -> None:
    columns = (column.split(":") for column in STORED[declaration.what].split())
    assert declaration.schema == pa.schema([(name, TYPES[kind]) for name, kind in columns])


@declared
def test_keys_and_slices_are_columns(declaration) -> None:
    assert set(declaration.key) | set(declaration.slice) <= set(declaration.schema.names)
    assert declaration.kind is not Kind.APPEND or declaration.slice == declaration.key


@declared
def test_a_table_that_nobody_wrote_has_no_rows(declaration, tmp_path) -> None:
    class Spec:
        is_hourly = False

        def table(self, what: str) -> str:
            return f"shop__{what}"

    assert Table(declaration, Lake(str(tmp_path)), Spec()).read() == []


def test_every_declaration_is_listed_once() -> None:
    assert sorted(one.what for one in DECLARATIONS) == sorted(STORED)


def test_the_page_is_current(repository) -> None:
    assert (repository / "docs/tables.md").read_text(encoding="utf-8") == document()
