"""Takes the pictures of the documentation: the Airflow UI after the demo, the report, and the form of an approval.

Needs `pip install -e '.[docs]'` and a Chromium: the system's own, or Playwright's (`playwright install chromium`). Run
the demo first; this script starts the same Airflow again if it was stopped, and then stops it. The form is that of a
sample project, in which a person approves; it lives as long as the picture takes.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tallywright.errors import TallyError
from tallywright.orchestration.embedded import project as local
from tallywright.orchestration.embedded.processes import USER, EmbeddedAirflow
from tallywright.spec.load import project_root

if TYPE_CHECKING:
    from collections.abc import Iterator

MODEL = "flight_delays"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SAMPLE, SAMPLE_DATE = "late_orders", "2025-04-01"
WIDTH = 1440
SETTLE_MS = 3500


def main() -> None:
    """Writes the pictures and says where."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--out", type=Path, help="folder for the pictures (default: docs/images)")
    root = project_root()
    out = parser.parse_args().out or root / "docs" / "images"
    out.mkdir(parents=True, exist_ok=True)
    approval_picture(out)
    airflow = local.embedded(root)
    started = bool(airflow.missing())
    local.start(airflow)
    try:
        with browser_page() as page:
            sign_in(page, airflow)
            airflow_pictures(page, airflow, out)
            report_picture(page, airflow, out)
    finally:
        if started:
            airflow.stop()


@contextmanager
def browser_page(height: int = 900) -> Iterator[Any]:
    """A page in the system's Chromium, or in Playwright's own where there is none."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        sys.exit("Playwright is missing: pip install -e '.[docs]'")
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--no-proxy-server"])
        try:
            yield browser.new_page(
                viewport={"width": WIDTH, "height": height}, device_scale_factor=1, color_scheme="light"
            )
        finally:
            browser.close()


def sign_in(page: Any, airflow: EmbeddedAirflow) -> None:
    """Signs in at the simple login form."""
    page.goto(airflow.address)
    page.locator("input[name=username]").fill(USER)
    page.locator("input[name=password]").fill(airflow.password)
    page.locator("button[type=submit]").click()
    page.wait_for_url(lambda url: "login" not in url)


def airflow_pictures(page: Any, airflow: EmbeddedAirflow, out: Path) -> None:
    """The list of DAGs, the week's grid, the plan as a graph, the trigger form, and a task's log."""
    score = f"{MODEL}__score"
    runs = local.client(airflow).runs(score)
    take(page, f"{airflow.address}/dags", out / "airflow-dags.png")
    take(page, f"{airflow.address}/dags/{score}", out / "airflow-score.png")
    take(page, f"{airflow.address}/dags/{MODEL}__train", out / "airflow-train.png")
    if runs:
        run = runs[-1]["dag_run_id"]
        take(page, f"{airflow.address}/dags/{score}/runs/{run}/tasks/score", out / "airflow-log.png")


def approval_picture(out: Path) -> None:
    """The form that a person answers: a sample project, trained until it asks."""
    with tempfile.TemporaryDirectory() as folder:
        root, as_of = Path(folder) / SAMPLE, SAMPLE_DATE
        _tally(Path(folder), "init", SAMPLE, "--model", SAMPLE)
        spec = root / "models" / SAMPLE / "model.yaml"
        spec.write_text(f"{spec.read_text().rstrip()}\n\nregistry:\n  approval: person\n  approvers: [{USER}]\n")
        _tally(root, "ingest", SAMPLE, "--from", "2025-01-01", "--to", as_of)
        airflow = local.embedded(root)
        try:
            rest = local.start(airflow)
            train = f"{SAMPLE}__train"
            run = rest.trigger(train, {"date": as_of, "effective_from": as_of, "reason": "the monthly training"})
            while (state := rest.task_states(train, run).get("approval")) != "awaiting_input":
                if rest.run_state(train, run) in ("success", "failed"):
                    sys.exit(f"error: {train} ended without asking: {state}")
                time.sleep(1)
            with browser_page(height=1100) as page:
                sign_in(page, airflow)
                where = f"/dags/{train}/runs/{quote(run, safe='')}/tasks/approval/required_actions"
                take(page, airflow.address + where, out / "approval-form.png")
        finally:
            airflow.stop()


def report_picture(page: Any, airflow: EmbeddedAirflow, out: Path) -> None:
    """The report as a reader opens it, the top of the page."""
    report = airflow.home.parent / f"{MODEL}-report.html"
    _tally(Path.cwd(), "report", MODEL, "--out", str(report))
    take(page, report.as_uri(), out / "report.png")


def _tally(folder: Path, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "tallywright", *arguments], cwd=folder, check=True)


def take(page: Any, address: str, file: Path) -> None:
    """Opens an address, waits until it has settled, and writes the picture."""
    page.goto(address)
    page.wait_for_timeout(SETTLE_MS)
    page.screenshot(path=str(file))
    print(file)


if __name__ == "__main__":
    try:
        main()
    except TallyError as error:
        sys.exit(f"error: {error}")
