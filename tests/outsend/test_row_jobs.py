"""Jobs over rows, from their creation to their end."""

from __future__ import annotations

from typing import Any

import pytest

from app.services import registry
from app.services.row_jobs.types import TYPES
from support.accounts import People
from support.callers import Caller
from support.envelopes import Refusals
from support.row_jobs import Gate, Owner, numbered

pytestmark = pytest.mark.settings(engine="on")

POIS = [
    {"nom": "Boulangerie du Port", "telephone": "0298000000", "note": 4.1, "site_web": "https://port.example"},
    {"nom": "Fournil", "telephone": "", "note": 4.8, "own": {"kept": [1]}},
    {"nom": "Pain & Cie", "telephone": "0611223344", "note": None},
]


def test_rows_are_accepted_and_worked_on(owner: Owner) -> None:
    """The whole way: 201 pending, then done, with counts, times and rows."""
    created = owner.create("filter", items=POIS, require_phone=True)
    assert (created["status"], created["job_type"], created["grid_points_count"]) == ("pending", "filter", 3)
    assert created["expires_at"] is None
    assert created["download_available"] is False
    done = owner.ended(created["id"])
    assert (done["status"], done["processed_points"], done["results_count"], done["error_count"]) == ("done", 3, 2, 0)
    assert done["started_at"] <= done["completed_at"] < done["expires_at"]
    assert done["download_available"] is True
    assert done["output_filename"] == "results_filter.csv"
    assert done["queue_position"] is None
    assert [row["nom"] for row in owner.rows(created["id"])] == ["Boulangerie du Port", "Pain & Cie"]


def test_a_job_goes_on_from_the_rows_of_another(owner: Owner) -> None:
    """Chains need no copying by the client, and the lineage is told."""
    first = owner.done("filter", items=POIS, require_phone=True)
    second = owner.done("sort", source_job_id=first["id"], sort_by="note", direction="asc")
    assert second["source_job_id"] == first["id"]
    assert [row["nom"] for row in owner.rows(second["id"])] == ["Boulangerie du Port", "Pain & Cie"]


def test_unknown_keys_of_a_row_survive(owner: Owner) -> None:
    """What a client sends along comes back."""
    done = owner.done("sort", items=POIS, sort_by="note")
    assert owner.rows(done["id"])[0] == POIS[1]


def test_a_source_must_be_done_and_ones_own(owner: Owner, other: Owner, gate: Gate, refused: Refusals) -> None:
    """404 for anybody else's, 400 while it runs."""
    theirs = other.done("sort", items=POIS)
    refused(owner.caller.post("/api/jobs/sort", json={"source_job_id": theirs["id"]}), 404)
    running = owner.create("techstack", items=numbered(1))
    refused(owner.caller.post("/api/jobs/sort", json={"source_job_id": running["id"]}), 400)


@pytest.mark.parametrize("body", [{}, {"sort_by": "note"}])
def test_rows_must_come_from_somewhere(owner: Owner, refused: Refusals, body: dict[str, Any]) -> None:
    """The refusal names the field."""
    told = refused(owner.caller.post("/api/jobs/sort", json=body), 422)
    assert told["errors"] == [{"field": "items", "message": "is required"}]


def test_parameters_that_go_together_are_asked_for_together(owner: Owner, refused: Refusals) -> None:
    """The registry's rules hold on the typed paths too."""
    body = {"items": POIS, "sample_type": "n"}
    told = refused(owner.caller.post("/api/jobs/filter", json=body), 422)
    assert [error["field"] for error in told["errors"]] == ["sample_n"]


def test_a_job_of_any_type_is_created_at_one_address(owner: Owner, refused: Refusals) -> None:
    """`POST /api/jobs` with a job type is the same as its own path."""
    answer = owner.caller.post("/api/jobs", json={"job_type": "sort", "items": POIS, "sort_by": "note"})
    assert answer.status_code == 201
    assert owner.ended(answer.json()["id"])["results_count"] == 3
    told = refused(owner.caller.post("/api/jobs", json={"job_type": "sort", "items": POIS, "top_n": 0}), 422)
    assert [error["field"] for error in told["errors"]] == ["top_n"]


@pytest.mark.parametrize("slug", sorted(registry.job_types().keys() - TYPES.keys()))
def test_types_that_do_not_run_say_so(owner: Owner, refused: Refusals, slug: str) -> None:
    """503 for those the registry knows, whichever way they are asked for."""
    typed = owner.caller.post(f"/api/jobs/{slug}", json={"source_job_id": "j_0123456789", "keys": ["a"]})
    assert typed.status_code in {422, 503}, typed.text
    refused(owner.caller.post("/api/jobs", json={"job_type": slug}), 503)


def test_a_search_is_what_is_created_by_default(owner: Owner, refused: Refusals) -> None:
    """The documented body of a search, which is not available yet."""
    refused(owner.caller.post("/api/jobs", json={"queries": ["bakery"], "zones": ["29"]}), 503)


def test_a_type_that_does_not_exist_is_not_found(owner: Owner, refused: Refusals) -> None:
    """`create_typed_row_job` tells a slip from a type that is not available."""
    refused(owner.caller.post("/api/jobs/nosuchtype", json={}), 404)
    refused(owner.caller.post("/api/jobs", json={"job_type": "nosuchtype"}), 404)
    refused(owner.caller.post("/api/jobs/estimate", json={"job_type": "nosuchtype"}), 404)


def test_an_estimate_stores_nothing(owner: Owner, gate: Gate) -> None:
    """What would be accepted, what it would cost, and whether it would be taken."""
    body = {"job_type": "techstack", "items": [*numbered(3), {"no": "n"}]}
    answer = owner.caller.post("/api/jobs/estimate", json=body)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert (told["accepted_items"], told["ignored_items"], told["units_count"]) == (3, 1, 3)
    assert told["ef_cost"] == pytest.approx(0.0003)
    assert told["within_limit"] is True
    assert owner.caller.get("/api/jobs").json()["total"] == 0


def test_a_job_may_not_cost_more_than_the_cap(
    owner: Owner, gate: Gate, refused: Refusals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An estimate says so beforehand; creating it is refused with 400."""
    monkeypatch.setattr("app.services.row_jobs.submission.MAX_EF_PER_JOB", 0.0002)
    body = {"items": numbered(3)}
    assert (
        owner.caller.post("/api/jobs/estimate", json=body | {"job_type": "techstack"}).json()["within_limit"] is False
    )
    assert "EF" in refused(owner.caller.post("/api/jobs/techstack", json=body), 400)["detail"]


def test_failed_units_are_counted_and_their_rows_kept(owner: Owner, gate: Gate) -> None:
    """One site that does not answer must cost nobody a lead; the log says which and why."""
    gate.open.set()
    items = [{"n": 0}, {"n": 1, "fail": "No answer"}, {"n": 2, "break": True}, {"n": 3, "drop": True}]
    done = owner.ended(owner.create("techstack", items=items)["id"])
    assert (done["status"], done["error_count"], done["results_count"]) == ("done", 2, 3)
    assert done["total_attempts_count"] == 4
    assert owner.rows(done["id"]) == [items[0] | {"seen": True}, items[1], items[2]]
    lines = owner.caller.get(f"/api/jobs/{done['id']}/logs").json()["items"]
    assert [line["message"] for line in lines if line["level"] == "warn"] == [
        "#2: No answer",
        "#3: The server failed on it",
    ]


def test_a_job_of_which_nothing_succeeds_has_failed(owner: Owner, gate: Gate) -> None:
    """Its rows can be had all the same."""
    gate.open.set()
    failed = owner.ended(owner.create("techstack", items=[{"n": 0, "fail": "x"}])["id"])
    assert failed["status"] == "failed"
    assert failed["error_message"] == "None of the 1 rows succeeded"
    assert owner.download(failed["id"]).json() == [{"n": 0, "fail": "x"}]


def test_a_cancelled_job_keeps_what_it_has(owner: Owner, gate: Gate, refused: Refusals) -> None:
    """At once, whatever its units are waiting for; what comes later is not stored any more."""
    items = [*numbered(3, wait=False), {"n": 3}]
    uid = owner.create("techstack", items=items)["id"]
    owner.when(uid, lambda shown: shown["status"] == "running")
    for _ in range(4):
        assert gate.began.acquire(timeout=20)
    cancelled = owner.caller.post(f"/api/jobs/{uid}/cancel")
    assert cancelled.status_code == 200
    assert cancelled.json()["status"] == "cancelled"
    before = owner.job(uid)
    gate.open.set()
    refused(owner.caller.post(f"/api/jobs/{uid}/cancel"), 400)
    assert owner.job(uid) == before


def test_a_cancelled_job_goes_on_where_it_ended(owner: Owner, gate: Gate) -> None:
    """Resuming does what is left, and only that; the result is whole."""
    items = [*numbered(3, wait=False), *[{"n": n} for n in range(3, 6)]]
    uid = owner.create("techstack", items=items)["id"]
    for _ in range(4):
        assert gate.began.acquire(timeout=20)
    owner.when(uid, lambda shown: shown["status"] == "running")
    owner.caller.post(f"/api/jobs/{uid}/cancel")
    stored = owner.job(uid)["processed_points"]
    gate.open.set()
    gate.seen.clear()
    answer = owner.caller.post("/api/jobs/resume", json={"job_id": uid})
    assert answer.status_code == 201, answer.text
    done = owner.ended(answer.json()["id"])
    assert done["source_job_id"] == uid
    assert (done["status"], done["processed_points"], done["results_count"]) == ("done", 6, 6)
    assert [row["n"] for row in owner.rows(done["id"])] == list(range(6))
    assert done["total_attempts_count"] == 6 - stored


def test_only_what_failed_or_was_cancelled_is_resumed(owner: Owner, refused: Refusals) -> None:
    """400 for a job that is done."""
    done = owner.done("sort", items=POIS)
    refused(owner.caller.post("/api/jobs/resume", json={"job_id": done["id"]}), 400)
    refused(owner.caller.post("/api/jobs/resume", json={"job_id": "j_nosuchjob"}), 404)


def test_a_job_of_which_all_failed_is_resumed_from_the_start(owner: Owner, gate: Gate) -> None:
    """Nothing of it is finished, so nothing is skipped."""
    gate.open.set()
    failed = owner.ended(owner.create("techstack", items=[{"n": 0, "fail": "x"}])["id"])
    again = owner.caller.post("/api/jobs/resume", json={"job_id": failed["id"]}).json()
    assert owner.ended(again["id"])["total_attempts_count"] == 1


def test_a_job_is_run_again_from_the_start(owner: Owner, gate: Gate, refused: Refusals) -> None:
    """With the same rows and parameters, as a new job; 400 while it runs."""
    first = owner.create("filter", items=POIS, require_phone=True)
    first = owner.ended(first["id"])
    answer = owner.caller.post(f"/api/jobs/{first['id']}/rerun")
    assert answer.status_code == 201
    again = owner.ended(answer.json()["id"])
    assert again["id"] != first["id"]
    assert owner.rows(again["id"]) == owner.rows(first["id"])
    running = owner.create("techstack", items=numbered(1))
    refused(owner.caller.post(f"/api/jobs/{running['id']}/rerun"), 400)


def test_a_deleted_job_is_gone_with_everything(owner: Owner, gate: Gate, refused: Refusals) -> None:
    """400 while it runs, so that nothing is worked on that nobody can see."""
    running = owner.create("techstack", items=numbered(1))
    refused(owner.caller.delete(f"/api/jobs/{running['id']}"), 400)
    gate.open.set()
    owner.ended(running["id"])
    assert owner.caller.delete(f"/api/jobs/{running['id']}").status_code == 204
    for part in ("", "/items", "/logs", "/report", "/download", "/stream"):
        refused(owner.caller.get(f"/api/jobs/{running['id']}{part}"), 404)


def test_the_sixth_job_of_a_user_waits(owner: Owner, other: Owner, gate: Gate) -> None:
    """Five run at once; the sixth takes the first place that comes free, and nobody else's is touched."""
    jobs = [owner.create("techstack", items=numbered(1))["id"] for _ in range(5)]
    for uid in jobs:
        owner.when(uid, lambda shown: shown["status"] == "running")
    sixth = owner.create("sort", items=POIS)["id"]
    assert other.done("sort", items=POIS)["status"] == "done"
    assert owner.job(sixth)["status"] == "pending"
    assert owner.job(sixth)["queue_position"] == 1
    owner.caller.post(f"/api/jobs/{jobs[0]}/cancel")
    assert owner.ended(sixth)["status"] == "done"


def test_a_parked_job_can_be_cancelled(owner: Owner, gate: Gate) -> None:
    """It never begins."""
    for _ in range(5):
        owner.create("techstack", items=numbered(1))
    sixth = owner.create("sort", items=POIS)["id"]
    answer = owner.caller.post(f"/api/jobs/{sixth}/cancel")
    assert answer.status_code == 200, answer.text
    cancelled = answer.json()
    assert (cancelled["status"], cancelled["started_at"], cancelled["download_available"]) == ("cancelled", None, False)


def test_nobody_sees_the_jobs_of_others(owner: Owner, other: Owner, refused: Refusals) -> None:
    """A foreign job answers as one that does not exist, on every path."""
    uid = owner.done("sort", items=POIS)["id"]
    caller: Caller = other.caller
    for part in ("", "/items", "/logs", "/report", "/download", "/stream"):
        refused(caller.get(f"/api/jobs/{uid}{part}"), 404)
    for part in ("cancel", "rerun"):
        refused(caller.post(f"/api/jobs/{uid}/{part}"), 404)
    refused(caller.delete(f"/api/jobs/{uid}"), 404)
    refused(caller.post("/api/jobs/resume", json={"job_id": uid}), 404)
    assert caller.get("/api/jobs").json()["total"] == 0


def test_an_unverified_account_creates_nothing(people: People, refused: Refusals) -> None:
    """It may look, though."""
    somebody = Owner(people, "new@example.com", email_verified=False)
    refused(somebody.caller.post("/api/jobs/sort", json={"items": POIS}), 403)
    assert somebody.caller.get("/api/jobs").status_code == 200


@pytest.mark.settings(rate_limits="on")
def test_jobs_are_created_sixty_times_an_hour_whatever_their_type(owner: Owner, refused: Refusals) -> None:
    """One limit for all the ways of creating a job, counted by the user."""
    body = {"source_job_id": "j_nosuchjob"}
    for number in range(60):
        path = ("/api/jobs/sort", "/api/jobs/filter")[number % 2]
        assert owner.caller.post(path, json=body).status_code == 404
    answer = owner.caller.post("/api/jobs/resume", json={"job_id": "j_nosuchjob"})
    refused(answer, 429)
    assert 0 < int(answer.headers["retry-after"]) <= 3600


def test_what_was_done_is_audited(owner: Owner, client: Any) -> None:
    """Who created, cancelled or deleted which job."""
    from sqlalchemy import select  # noqa: PLC0415

    from models.audit import AuditEntry  # noqa: PLC0415
    from models.base import transaction  # noqa: PLC0415

    uid = owner.done("sort", items=POIS)["id"]
    owner.caller.delete(f"/api/jobs/{uid}")
    with transaction(client.application.runtime.engine, write=False) as session:
        entries = session.scalars(select(AuditEntry).where(AuditEntry.resource_id == uid).order_by(AuditEntry.id)).all()
    assert [(entry.action, entry.actor_id) for entry in entries] == [
        ("row_job.create", owner.user.id),
        ("row_job.delete", owner.user.id),
    ]
