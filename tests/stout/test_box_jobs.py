"""Jobs as their boxes see them: claimed once, one at a time, in order; reported, called off, timed out.

Exercises `claim_job`, `acknowledge_job`, `report_job_status` and `report_job_result`.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import select

from app.services.box_jobs import claims, reports
from app.services.box_jobs.files import store_of
from app.services.box_jobs.overseer import Overseer
from app.services.resealing import reseal
from models.base import now, transaction
from models.boxes import Box
from support.box_jobs import Bench
from support.envelopes import Refusals

THREADS = 20


def overseer(bench: Bench) -> Overseer:
    """What looks after jobs, to be asked to do so now."""
    runtime = bench.client.application.runtime
    return Overseer(runtime, store_of(runtime))


def lock_of(bench: Bench) -> str | None:
    """Who holds the first box's lock."""
    with transaction(bench.engine, write=False) as session:
        return session.scalar(select(Box.lock_user).where(Box.id == bench.box.id))


def test_a_job_goes_from_queue_to_completion(bench: Bench) -> None:
    """Claim, ack, upload, result: each answers the job as it then is."""
    job = bench.submit(args=["-v"], timeoutSeconds=60)
    told = bench.claim().json()
    assert told == {
        "jobId": job["id"],
        "command": "true",
        "args": ["-v"],
        "timeoutSeconds": 60,
        "env": {},
        "files": [],
        "resourceLock": False,
    }
    assert bench.look(job["id"])["status"] == "dispatching"
    assert bench.tell(job["id"], "ack").json()["status"] == "running"
    assert bench.tell(job["id"], "status", status="uploading_artifacts").json()["status"] == "uploading_artifacts"
    done = bench.tell(job["id"], "result", exitCode=0).json()
    assert (done["status"], done["exitCode"]) == ("completed", 0)
    assert done["queuedAt"] <= done["dispatchedAt"] <= done["startedAt"] <= done["finishedAt"]


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        ({"exitCode": 3}, "exit_code"),
        ({"exitCode": -1}, "could_not_run"),
        ({"exitCode": -1, "failureReason": "no such program"}, "no such program"),
    ],
)
def test_anything_but_zero_fails_the_job(bench: Bench, result: dict[str, object], reason: str) -> None:
    """With why."""
    done = bench.tell(bench.running(), "result", **result).json()
    assert (done["status"], done["exitCode"], done["failureReason"]) == ("failed", result["exitCode"], reason)


def test_jobs_of_a_box_run_one_at_a_time_in_order(bench: Bench) -> None:
    """First come, first served; while one runs there is none."""
    first, second = bench.submit(), bench.submit()
    assert bench.claim().json()["jobId"] == first["id"]
    assert bench.claim().status_code == 204
    bench.tell(first["id"], "ack")
    bench.tell(first["id"], "result", exitCode=0)
    assert bench.claim().json()["jobId"] == second["id"]


def test_parallel_claims_never_share_a_job(bench: Bench) -> None:
    """Twenty boxes of a group ask at the same moment for twelve jobs: each job goes to one of them."""
    agents = [bench.add_box(f"bench-{n}") for n in range(10, 10 + THREADS)]
    group = bench.add_group(*(box for box, _ in agents))
    jobs = {bench.submit(boxGroupId=group.uid)["id"] for _ in range(12)}
    start = threading.Barrier(THREADS)
    runtime = bench.client.application.runtime

    def claim(box: Box) -> str | None:
        start.wait()
        with transaction(runtime.engine):
            job = claims.claim(box.uid)
            return job.uid if job else None

    with ThreadPoolExecutor(THREADS) as pool:
        taken = [uid for uid in pool.map(claim, [box for box, _ in agents]) if uid]
    assert sorted(taken) == sorted(jobs)


def test_parallel_claims_of_one_box_take_one_job(bench: Bench) -> None:
    """Twenty agents with one key are still one box, over the wire too."""
    jobs = [bench.submit()["id"] for _ in range(3)]
    with ThreadPoolExecutor(THREADS) as pool:
        answers = list(pool.map(lambda _: bench.claim(), range(THREADS)))
    assert [a.json()["jobId"] for a in answers if a.status_code == 200] == jobs[:1]
    assert {a.status_code for a in answers} == {200, 204}


def test_a_claim_waits_for_a_job(bench: Bench) -> None:
    """It is answered when the job comes, long before the wait is over."""
    with ThreadPoolExecutor(1) as pool:
        asked = time.monotonic()
        waiting = pool.submit(bench.claim, waitSeconds=20)
        time.sleep(0.5)
        job = bench.submit()
        assert waiting.result(10).json()["jobId"] == job["id"]
    assert time.monotonic() - asked < 5


def test_a_claim_without_a_job_ends_when_it_said(bench: Bench) -> None:
    """204, neither at once nor much later."""
    asked = time.monotonic()
    assert bench.claim(waitSeconds=1).status_code == 204
    assert 0.9 <= time.monotonic() - asked < 3


def test_many_waiting_boxes_leave_everybody_else_alone(bench: Bench) -> None:
    """A wait is a sleeping task: a hundred of them, and plain requests are answered as ever."""
    agents = [bench.agent_of(bench.add_box(f"idle-{n}")[1]) for n in range(100)]
    with ThreadPoolExecutor(100) as pool:
        waits = [pool.submit(bench.claim, agent, waitSeconds=4) for agent in agents]
        time.sleep(1.5)
        began = time.monotonic()
        for _ in range(10):
            assert bench.owner.get(bench.jobs).status_code == 200
        took = time.monotonic() - began
        assert {wait.result(20).status_code for wait in waits} == {204}
    assert took < 3


def test_a_box_that_waits_hears_that_its_job_is_over(bench: Bench) -> None:
    """Named in the claim, the running job ends the wait: that is how a cancellation reaches a silent job."""
    job_id = bench.running()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(bench.claim, waitSeconds=20, runningJobId=job_id)
        time.sleep(0.5)
        asked = time.monotonic()
        bench.owner.post(f"{bench.jobs}/{job_id}/cancel")
        answer = waiting.result(10)
    assert (answer.status_code, answer.headers["x-job-over"]) == (204, "cancelled")
    assert time.monotonic() - asked < 2


def test_a_lost_job_is_handed_out_again(bench: Bench) -> None:
    """The answer to the claim may never have come; an acknowledged job is not handed out twice."""
    job = bench.submit()
    assert bench.claim().json()["jobId"] == job["id"]
    assert bench.claim().status_code == 204
    bench.change(job["id"], delivered_at=now() - timedelta(seconds=11))
    assert bench.claim(waitSeconds=1).json()["jobId"] == job["id"]
    bench.tell(job["id"], "ack")
    bench.change(job["id"], delivered_at=now() - timedelta(hours=1))
    assert bench.claim().status_code == 204


def test_a_report_may_be_repeated(bench: Bench, refused: Refusals) -> None:
    """An answer that was lost is asked for again; a different story is refused."""
    job_id = bench.running()
    assert bench.tell(job_id, "ack").json()["status"] == "running"
    assert bench.tell(job_id, "status", status="running").status_code == 200
    for _ in range(2):
        assert bench.tell(job_id, "result", exitCode=7).json()["status"] == "failed"
    refused(bench.tell(job_id, "result", exitCode=0), 409)
    refused(bench.tell(job_id, "ack"), 409)


def test_no_step_leads_back(bench: Bench, refused: Refusals) -> None:
    """One way; and nothing runs before it was acknowledged."""
    job = bench.submit()
    bench.claim()
    refused(bench.tell(job["id"], "status", status="running"), 409)
    refused(bench.tell(job["id"], "result", exitCode=0), 409)
    bench.tell(job["id"], "ack")
    bench.tell(job["id"], "status", status="uploading_artifacts")
    refused(bench.tell(job["id"], "status", status="running"), 409)
    refused(bench.tell(job["id"], "ack"), 409)


def test_a_cancelled_job_refuses_its_box_with_the_reason(bench: Bench, refused: Refusals) -> None:
    """Whatever the box says next, it learns that it may stop; the box is free at once."""
    job_id = bench.running()
    bench.owner.post(f"{bench.jobs}/{job_id}/cancel")
    for answer in (
        bench.tell(job_id, "ack"),
        bench.say(job_id, "late"),
        bench.tell(job_id, "status", status="running"),
        bench.tell(job_id, "result", exitCode=0),
        bench.tell(job_id, "artifacts", name="late.txt"),
    ):
        assert refused(answer, 409)["status"] == "cancelled"
    following = bench.submit()
    assert bench.claim().json()["jobId"] == following["id"]


def test_the_job_of_another_box_does_not_exist(bench: Bench, refused: Refusals) -> None:
    """Nor does one that no box took yet."""
    _, key = bench.add_box("bench-2")
    waiting, job_id = bench.submit(), bench.submit()["id"]
    refused(bench.tell(waiting["id"], "ack"), 404)
    assert bench.claim().json()["jobId"] == waiting["id"]
    stranger = bench.agent_of(key)
    refused(bench.tell(waiting["id"], "ack", stranger), 404)
    refused(bench.tell(waiting["id"], "result", stranger, exitCode=0), 404)
    refused(bench.tell(job_id, "ack"), 404)


def test_people_and_boxes_keep_to_their_own_doors(bench: Bench, refused: Refusals) -> None:
    """A bearer token on a box route, a box key on a user route."""
    refused(bench.claim(bench.owner), 401)
    refused(bench.agent.get(bench.jobs), 401)


def test_a_job_may_have_the_box_to_itself(bench: Bench) -> None:
    """The lock is there for the job's life and goes with it, however it ends."""
    for end in ("result", "cancel", "time"):
        job_id = bench.running(resourceLock=True)
        assert lock_of(bench) == f"stout:job:{job_id}"
        if end == "result":
            bench.tell(job_id, "result", exitCode=0)
        elif end == "cancel":
            bench.owner.post(f"{bench.jobs}/{job_id}/cancel")
        else:
            bench.change(job_id, deadline_at=now() - timedelta(seconds=1))
            overseer(bench).look(now())
        assert lock_of(bench) is None


def test_a_locked_box_gets_jobs_of_the_holder_alone(bench: Bench) -> None:
    """Whoever reserved the bench uses it; the others wait until the lock is gone or has expired."""
    theirs, mine = bench.submit(), bench.submit(bench.ada)
    with transaction(bench.engine) as session:
        box = session.get_one(Box, bench.box.id)
        box.lock_user, box.lock_holder_type = f"stout:{mine['createdById']}:ada@example.com", "stout"
    assert bench.claim().json()["jobId"] == mine["id"]
    bench.tell(mine["id"], "ack")
    bench.tell(mine["id"], "result", exitCode=0)
    assert bench.claim().status_code == 204
    with transaction(bench.engine) as session:
        session.get_one(Box, bench.box.id).lock_expires_at = now() - timedelta(seconds=1)
    assert bench.claim().json()["jobId"] == theirs["id"]


def test_a_job_out_of_time_is_ended(bench: Bench, refused: Refusals) -> None:
    """Its clock started when the box took it; twenty who notice at once end it once."""
    waiting, job_id = (
        bench.submit(boxId=bench.add_box("bench-2")[0].uid, timeoutSeconds=1),
        bench.running(timeoutSeconds=1),
    )
    later = now() + timedelta(seconds=2)

    def check(_: int) -> int:
        with transaction(bench.engine):
            return reports.time_out_overdue(later)

    with ThreadPoolExecutor(THREADS) as pool:
        assert sum(pool.map(check, range(THREADS))) == 1
    assert bench.look(job_id)["status"] == "timed_out"
    assert bench.look(waiting["id"])["status"] == "queued"
    assert refused(bench.tell(job_id, "result", exitCode=0), 409)["status"] == "timed_out"


@pytest.mark.settings(engine="on")
def test_the_server_ends_it_by_itself(bench: Bench) -> None:
    """Nobody has to ask."""
    job_id = bench.running(timeoutSeconds=1)
    deadline = time.monotonic() + 10
    while bench.look(job_id)["status"] == "running" and time.monotonic() < deadline:
        time.sleep(0.1)
    assert bench.look(job_id)["status"] == "timed_out"


def test_a_failure_after_the_deadline_is_a_timeout(bench: Bench) -> None:
    """The box killed the command because its time was up."""
    job_id = bench.running()
    bench.change(job_id, deadline_at=now() - timedelta(seconds=1))
    done = bench.tell(job_id, "result", exitCode=-1).json()
    assert done["status"] == "timed_out"
    assert "failureReason" not in done


def test_a_job_says_that_it_waits_for_its_box(bench: Bench) -> None:
    """Offline, busy or locked; it is taken from there as from the queue."""
    offline, key = bench.add_box("cellar", status="offline")
    locked, _ = bench.add_box("locked", lock_user="carol", lock_holder_type="user")
    free = bench.submit(boxId=bench.add_box("free")[0].uid)
    running, busy = bench.running(), bench.submit()
    waiting = [bench.submit(boxId=offline.uid), bench.submit(boxId=locked.uid), busy]
    overseer(bench).look(now())
    assert [bench.look(job["id"])["status"] for job in waiting] == ["waiting_for_box"] * 3
    assert [bench.look(job_id)["status"] for job_id in (free["id"], running)] == ["queued", "running"]
    assert bench.claim(bench.agent_of(key)).json()["jobId"] == waiting[0]["id"]


def test_a_job_that_no_box_can_take_fails(bench: Bench) -> None:
    """Its box was deleted, or its group became empty."""
    box, _ = bench.add_box("gone")
    other, _ = bench.add_box("last of its group")
    group = bench.add_group(other)
    jobs = [bench.submit(boxId=box.uid), bench.submit(boxGroupId=group.uid)]
    with transaction(bench.engine) as session:
        session.delete(session.get_one(Box, box.id))
        session.delete(session.get_one(Box, other.id))
    overseer(bench).look(now())
    for job in jobs:
        ended = bench.look(job["id"])
        assert (ended["status"], ended["failureReason"]) == ("failed", "no_suitable_box")


def test_sealed_environments_follow_the_keyring(bench: Bench) -> None:
    """After a rotation they are sealed anew, and the box still gets them."""
    runtime = bench.client.application.runtime
    job = bench.submit(env={"A": "b"})
    held = runtime.secrets._held
    object.__setattr__(held, "keyring", dict(held.keyring) | {"k9": b"9" * 32})
    object.__setattr__(held, "current", "k9")
    assert reseal(runtime.engine, runtime.secrets, lambda *_: None).failed == 0
    assert str(bench.row(job["id"]).sealed_env).startswith("v1.k9.")
    assert bench.claim().json()["env"] == {"A": "b"}


def test_a_job_whose_environment_is_lost_fails(bench: Bench) -> None:
    """It would otherwise be handed out and lost for ever; the next one runs."""
    job, following = bench.submit(env={"A": "b"}), bench.submit()
    bench.change(job["id"], sealed_env="v1.k0.AAAA")
    assert bench.claim().status_code == 204
    assert bench.look(job["id"])["failureReason"] == "environment_unreadable"
    assert bench.claim().json()["jobId"] == following["id"]


def test_a_box_at_work_cannot_be_deleted(bench: Bench, refused: Refusals) -> None:
    """Its job would be left to nobody; once that is over the box may go, and what waits for it fails."""
    path = f"/api/orgs/{bench.org.uid}/boxes/{bench.box.uid}"
    job_id, waiting = bench.running(), bench.submit()
    refused(bench.owner.delete(path), 409)
    bench.tell(job_id, "result", exitCode=0)
    assert bench.owner.delete(path).status_code == 204
    overseer(bench).look(now())
    assert bench.look(waiting["id"])["failureReason"] == "no_suitable_box"
    assert "boxId" not in bench.look(job_id)
    refused(bench.owner.post(f"{bench.jobs}/{job_id}/rerun"), 409)
