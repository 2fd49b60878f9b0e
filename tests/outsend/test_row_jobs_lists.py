"""Finding jobs and reading what they made: lists, rows, logs, reports, the queue, and files."""

from __future__ import annotations

import io
import json
from datetime import timedelta
from typing import Any

import openpyxl
import pytest
from sqlalchemy import func, select, update

from app.services.row_jobs import lifecycle, queue
from models.base import now, transaction
from models.engine import EngineTask
from models.row_jobs import RowJob, RowJobItems, RowJobRows
from support.accounts import People
from support.callers import Client
from support.envelopes import Refusals
from support.row_jobs import Gate, Owner, numbered

pytestmark = pytest.mark.settings(engine="on")

ROWS = [
    {"nom": "Zinc", "note": 3.5, "own": [1]},
    {"nom": "Abri", "note": None},
    {"nom": "Mât; «é»", "note": 4},
    {"nom": "=1+1", "note": "n/a"},
]


@pytest.fixture
def job(owner: Owner) -> str:
    """A job that is done, with its rows in the order they came."""
    return str(owner.done("filter", items=ROWS)["id"])


def test_a_list_is_of_ones_own_newest_first(owner: Owner, other: Owner) -> None:
    """And says how many there are in all."""
    ids = [owner.done("filter", items=ROWS)["id"] for _ in range(3)]
    other.done("filter", items=ROWS)
    page = owner.caller.get("/api/jobs", params={"limit": 2, "offset": 0}).json()
    assert [shown["id"] for shown in page["items"]] == ids[:0:-1]
    assert (page["total"], page["limit"], page["offset"]) == (3, 2, 0)
    assert [shown["id"] for shown in owner.caller.get("/api/jobs", params={"offset": 2}).json()["items"]] == ids[:1]


def test_a_list_is_narrowed_and_sorted(owner: Owner) -> None:
    """Every filter, and the sorts."""
    first = owner.done("filter", items=ROWS)
    second = owner.done("sort", source_job_id=first["id"], top_n=1)

    def listed(**query: Any) -> list[str]:
        answer = owner.caller.get("/api/jobs", params=query)
        assert answer.status_code == 200, answer.text
        return [shown["id"] for shown in answer.json()["items"]]

    assert listed(job_type="sort") == [second["id"]]
    assert listed(status="done", sort="created_at") == [first["id"], second["id"]]
    assert listed(status="failed") == []
    assert listed(source_job_id=first["id"]) == [second["id"]]
    assert listed(pipeline_id="p_nosuchpipeline") == []
    assert listed(q="SOR") == [second["id"]]
    assert listed(q="%") == []
    assert listed(sort="results_count") == [second["id"], first["id"]]
    assert listed(sort="-job_type") == [second["id"], first["id"]]
    assert listed(created_before=first["created_at"]) == []
    assert sorted(listed(created_after=first["created_at"])) == sorted([first["id"], second["id"]])


@pytest.mark.parametrize("query", [{"limit": 201}, {"sort": "secret"}, {"status": "paused"}, {"created_after": "now"}])
def test_a_list_refuses_what_it_cannot_do(owner: Owner, refused: Refusals, query: dict[str, Any]) -> None:
    """422 with the field."""
    told = refused(owner.caller.get("/api/jobs", params=query), 422)
    assert [error["field"] for error in told["errors"]] == list(query)


def test_rows_are_paged(owner: Owner, job: str) -> None:
    """In the order of the result."""
    page = owner.caller.get(f"/api/jobs/{job}/items", params={"limit": 2, "offset": 1}).json()
    assert page == {"items": ROWS[1:3], "total": 4, "limit": 2, "offset": 1}
    assert owner.rows(job, offset=4) == []


def test_rows_are_found_and_sorted(owner: Owner, job: str) -> None:
    """Numbers before texts, blanks last whichever way; search looks into every cell."""
    assert [row["nom"] for row in owner.rows(job, sort="note")] == ["Zinc", "Mât; «é»", "=1+1", "Abri"]
    assert [row["nom"] for row in owner.rows(job, sort="-note")] == ["=1+1", "Mât; «é»", "Zinc", "Abri"]
    assert [row["nom"] for row in owner.rows(job, sort="nom", limit=1, offset=1)] == ["Abri"]
    found = owner.caller.get(f"/api/jobs/{job}/items", params={"search": "MÂT"}).json()
    assert (found["total"], [row["nom"] for row in found["items"]]) == (1, ["Mât; «é»"])
    assert owner.rows(job, search="nosuch") == []


def test_many_rows_are_read_across_chunks(owner: Owner) -> None:
    """A page may begin anywhere; nothing is lost or read twice at the seams."""
    done = owner.done("filter", items=numbered(1234))
    uid = done["id"]
    assert done["results_count"] == 1234
    assert [row["n"] for row in owner.rows(uid, limit=200, offset=450)] == list(range(450, 650))
    assert [row["n"] for row in owner.rows(uid, sort="-n", limit=3, offset=1230)] == [3, 2, 1]
    assert [row["n"] for row in owner.download(uid).json()] == list(range(1234))


def test_partial_rows_can_be_read_while_a_job_runs(owner: Owner, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for ten thousand sites sees the first ones meanwhile."""
    monkeypatch.setattr("app.services.row_jobs.execution.MOST_UNITS", 2)
    items = [*numbered(2, wait=False), {"n": 2}]
    uid = owner.create("techstack", items=items)["id"]
    owner.when(uid, lambda shown: shown["processed_points"] == 2)
    assert [row["n"] for row in owner.rows(uid)] == [0, 1]


def test_a_file_is_json_unless_asked_otherwise(owner: Owner, job: str) -> None:
    """With a name, and every column in every row."""
    answer = owner.download(job)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["content-disposition"] == 'attachment; filename="results_filter.json"'
    assert answer.json() == json.loads(owner.download(job, format="json").content)
    assert answer.json() == [{"nom": None, "note": None, "own": None} | row for row in ROWS]


def test_csv_opens_in_a_spreadsheet_as_it_is(owner: Owner, job: str) -> None:
    """A byte order mark and semicolons; a cell that looks like a formula is none."""
    answer = owner.download(job, format="csv")
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.headers["content-disposition"] == 'attachment; filename="results_filter.csv"'
    lines = answer.content.decode("utf-8-sig").splitlines()
    assert answer.content.startswith(b"\xef\xbb\xbf")
    assert lines[0] == "nom;note;own"
    assert not any(line.startswith("=") for line in lines)
    assert len(lines) == 5


def test_a_workbook_holds_every_row(owner: Owner, job: str) -> None:
    """Read back by another program."""
    answer = owner.download(job, format="xlsx")
    assert answer.headers["content-type"] == "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
    [sheet] = openpyxl.load_workbook(io.BytesIO(answer.content)).worksheets
    values = list(sheet.iter_rows(values_only=True))
    assert values[0] == ("nom", "note", "own")
    assert [row[0] for row in values[1:4]] == ["Zinc", "Abri", "Mât; «é»"]


def test_a_format_nobody_writes_is_refused(owner: Owner, job: str, refused: Refusals) -> None:
    """422 with the field."""
    told = refused(owner.download(job, format="pdf"), 422)
    assert [error["field"] for error in told["errors"]] == ["format"]


def test_there_is_no_file_before_the_end(owner: Owner, gate: Gate, refused: Refusals) -> None:
    """400 while it runs; 404 when it ended with nothing."""
    uid = owner.create("techstack", items=numbered(1))["id"]
    refused(owner.download(uid), 400)
    owner.caller.post(f"/api/jobs/{uid}/cancel")
    refused(owner.download(uid), 404)


def test_a_log_is_read_from_where_one_left_it(owner: Owner, job: str) -> None:
    """Numbered without gaps, oldest first."""
    path = f"/api/jobs/{job}/logs"
    lines = owner.caller.get(path).json()["items"]
    assert [line["seq"] for line in lines] == list(range(1, len(lines) + 1))
    assert lines[0]["message"] == "Accepted: 4 rows"
    assert lines[-1]["message"] == "Done: 4 of 4 rows, 4 rows"
    rest = owner.caller.get(path, params={"after": 2}).json()
    assert rest["items"] == lines[2:]
    assert rest["total"] == len(lines) - 2


def test_a_report_counts_rows_and_filled_cells(owner: Owner, gate: Gate) -> None:
    """What was received, dropped, worked on and made."""
    gate.open.set()
    items = [{"n": 0, "a": ""}, {"n": 1, "a": "x"}, {"n": 2, "fail": "No"}, {"no": "n"}]
    uid = owner.ended(owner.create("techstack", items=items)["id"])["id"]
    report = owner.caller.get(f"/api/jobs/{uid}/report").json()
    numbers = [report[name] for name in ("received", "accepted", "ignored", "processed", "failed", "total")]
    assert numbers == [4, 3, 1, 3, 1, 3]
    filled = {column["name"]: column["filled"] for column in report["columns"]}
    assert filled == {"n": 3, "a": 1, "seen": 2, "fail": 1}
    assert report["duration_seconds"] >= 0
    assert report["notices"] == ["Told once."]


def test_the_operator_sees_the_queue(people: People, owner: Owner, gate: Gate, refused: Refusals) -> None:
    """All users' jobs, and how full the lanes are; nobody else sees it."""
    uid = owner.create("techstack", items=numbered(1))["id"]
    owner.when(uid, lambda shown: shown["status"] == "running")
    operator = Owner(people, "root@example.com", is_admin=True)
    shown = operator.caller.get("/api/jobs/queue").json()
    assert shown["lanes"] == {"parallel": {"pending": 0, "running": 1}, "serial": {"pending": 0, "running": 0}}
    [only] = shown["items"]
    assert (only["id"], only["owner_user_id"], only["status"]) == (uid, owner.user.id, "running")
    refused(owner.caller.get("/api/jobs/queue"), 403)


def aged(client: Client, uid: str) -> None:
    """Let a week and a minute pass over a job."""
    with transaction(client.application.runtime.engine) as session:
        past = now() - timedelta(minutes=1)
        session.execute(update(RowJob).where(RowJob.uid == uid).values(expires_at=past))


def test_a_result_expires(client: Client, owner: Owner, job: str, refused: Refusals) -> None:
    """Its rows are gone, the job stays; it can neither be downloaded nor run again, but be deleted."""
    kept = owner.done("filter", items=ROWS)["id"]
    engine = client.application.runtime.engine
    aged(client, job)
    assert lifecycle.expire(engine) == 1
    shown = owner.job(job)
    assert (shown["status"], shown["download_available"], shown["results_count"]) == ("expired", False, 4)
    assert "expired" in refused(owner.download(job), 404)["detail"]
    assert owner.rows(job) == []
    refused(owner.caller.post(f"/api/jobs/{job}/rerun"), 400)
    refused(owner.caller.post("/api/jobs/sort", json={"source_job_id": job}), 400)
    with transaction(engine, write=False) as session:
        for table in (RowJobItems, RowJobRows):
            assert session.scalar(select(func.count(func.distinct(table.job_id)))) == 1
    assert owner.job(kept)["status"] == "done"
    assert owner.caller.delete(f"/api/jobs/{job}").status_code == 204


def test_a_job_the_engine_gave_up_is_handed_over_again(
    client: Client, owner: Owner, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Accepted is accepted: a job that nobody works on is found and ended."""
    engine = client.application.runtime.engine
    monkeypatch.setattr("app.services.row_jobs.duty.execute", lambda *_: None)
    uid = owner.create("filter", items=ROWS)["id"]
    deadline = now() + timedelta(seconds=20)
    while _states(engine) != ["done"]:
        assert now() < deadline
    assert owner.job(uid)["status"] == "pending"
    monkeypatch.undo()
    queue.tend(engine)
    assert owner.ended(uid)["status"] == "done"


def _states(engine: Any) -> list[str]:
    with transaction(engine, write=False) as session:
        return list(session.scalars(select(EngineTask.state)))


def test_a_job_that_runs_is_not_handed_over_twice(client: Client, owner: Owner, gate: Gate) -> None:
    """Looking after the lost must leave the others alone."""
    uid = owner.create("techstack", items=numbered(1))["id"]
    owner.when(uid, lambda shown: shown["status"] == "running")
    queue.tend(client.application.runtime.engine)
    assert len(_states(client.application.runtime.engine)) == 1
    gate.open.set()
    assert owner.ended(uid)["status"] == "done"
