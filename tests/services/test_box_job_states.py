"""The states of a job on a box: one way, and always to an end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from app.services.box_jobs import states
from app.services.box_jobs.states import ACTIVE, EDGES, OPEN, QUEUED, STATES, TERMINAL, WAITING

EVERY = st.sampled_from(STATES)
RANK = {state: rank for rank, group in enumerate((OPEN, ACTIVE, TERMINAL)) for state in group}


class Life(RuleBasedStateMachine):
    """A job to which anything is tried at any time; only what the edges allow happens."""

    def __init__(self) -> None:
        super().__init__()
        self.passed = [QUEUED]

    @rule(following=EVERY)
    def ask(self, following: str) -> None:
        """Somebody wants the job to be in this state."""
        if states.may_become(self.passed[-1], following):
            self.passed.append(following)

    @invariant()
    def no_state_comes_twice(self) -> None:
        """One way: a state that was left is never entered again, and its life is therefore bounded."""
        assert len(set(self.passed)) == len(self.passed)

    @invariant()
    def work_never_goes_back_to_waiting(self) -> None:
        """From waiting to work to an end."""
        ranks = [RANK[state] for state in self.passed]
        assert ranks == sorted(ranks)

    @invariant()
    def an_end_is_the_end(self) -> None:
        """Only the last state is terminal."""
        assert not any(states.is_over(state) for state in self.passed[:-1])


TestLife = Life.TestCase


def test_there_are_nine_states() -> None:
    """Clients switch over them."""
    assert len(STATES) == len(set(STATES)) == len(EDGES) == 9


@given(state=EVERY, following=EVERY)
def test_what_may_come_before_is_what_may_follow_read_backwards(state: str, following: str) -> None:
    """The database asks one way, the code the other: they must not drift apart."""
    assert (state in states.before(following)) == states.may_become(state, following)


@given(state=EVERY)
def test_every_state_leads_to_an_end(state: str) -> None:
    """A job that could get stuck would hold its box for ever."""
    reached, due = {state}, [state]
    while due:
        due = [following for known in due for following in EDGES[known] if following not in reached]
        reached |= set(due)
    assert reached & set(TERMINAL)


@given(state=st.sampled_from(OPEN + ACTIVE))
def test_a_job_can_be_cancelled_until_it_is_over(state: str) -> None:
    """And never after: a finished job keeps its result."""
    assert states.may_become(state, "cancelled")
    assert states.before("cancelled") == OPEN + ACTIVE


@pytest.mark.parametrize("state", [QUEUED, WAITING])
def test_a_job_that_waits_does_not_run_out_of_time(state: str) -> None:
    """The clock starts when a box takes it."""
    assert not states.may_become(state, "timed_out")


@given(exit_code=st.integers(-1, 255))
def test_only_success_completes_a_job(exit_code: int) -> None:
    """Exit code 0 and nothing else."""
    assert states.outcome(exit_code) == ("completed" if exit_code == 0 else "failed")
