"""The short form of `make chaos`: every door, two workers that are killed again and again, faults of all that is around
them. What takes the dead their time (leases, late messages) is not waited for; `make chaos` waits."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator

import pytest

from local.certificates import Certificates
from local.stack import Stack
from tests.chaos import report
from tests.chaos import run as chaos
from tests.chaos.ground import Ground


@pytest.fixture
def ground(certificates: Certificates) -> Iterator[Ground]:
    with Ground(certificates, calls_again=False) as made:
        yield made


@pytest.mark.long
async def test_nothing_is_lost_or_paid_twice_whatever_is_killed_repeated_or_refused(
    ground: Ground, make_stack: Callable[..., Stack]
) -> None:
    stack = make_stack(workers=2, environ=ground.environ, configure=ground.configure)
    assert stack.info is not None
    seed = os.environ.get("SEED") or secrets.token_hex(4)
    what = chaos.Chaos(seed, count=30, asking=6, breaking=8, kill_every=2, hurry=True, longest_wait=120)
    said: list[str] = [f"SEED={seed}"]
    outcome = await chaos.run(what, stack.info, ground, said.append)
    said += report.lines(outcome.account, outcome.done, ground.gate)

    assert not outcome.account.violations, "\n".join(said)
    assert outcome.done.killed, "nothing was killed"
    assert outcome.account.orders.total() == what.count
    # One kill ends all calls of a worker, of which there are more at once the busier the machine is.
    assert outcome.account.paid.total() > what.count / 10, "hardly anything succeeded: this shows nothing"
