"""The arithmetic of slots: spacing, blocks, stretching, lateness."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.jobs.rate import OUT_FOR, Record, fingerprint, is_void, make_slot
from shared.settings import Deployment

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
DEPLOYMENT = Deployment(name="dep", endpoint="https://example.com", deployment="dep", requests_per_minute=9)


def seconds(value: float) -> timedelta:
    return timedelta(seconds=value)


def test_the_interval_is_two_percent_longer_than_the_quota_asks():
    assert make_slot(DEPLOYMENT, NOW).interval == seconds(6.8)


def test_a_quota_of_images_makes_calls_of_many_images_wait_longer():
    deployment = replace(DEPLOYMENT, images_per_minute=6)
    assert make_slot(deployment, NOW, 1).interval == seconds(10.2)
    assert make_slot(deployment, NOW, 4).interval == seconds(40.8)
    assert make_slot(replace(deployment, requests_per_minute=1), NOW, 4).interval == seconds(61.2)


@given(
    st.lists(st.tuples(st.floats(0, 100), st.integers(1, 10)), min_size=2, max_size=30),
    st.floats(0.5, 600),
    st.none() | st.floats(0.5, 600),
)
def test_slots_never_lie_closer_than_the_interval_before_them(reservations, rpm, ipm):
    deployment = replace(DEPLOYMENT, requests_per_minute=rpm, images_per_minute=ipm)
    record, now, slots = Record(), NOW, []
    for later, images in reservations:
        now += seconds(later)
        slot, record = record.reserve(deployment, now, images, "writer")
        slots.append(slot)
        assert slot.at >= now
    for one, next_one in itertools.pairwise(slots):
        quota = max(60 / rpm, 60 * one.images / ipm if ipm else 0)
        assert (next_one.at - one.at).total_seconds() >= quota * 1.0199
        assert next_one.at - one.at >= one.interval


def test_a_slot_is_void_half_an_interval_after_it():
    slot = make_slot(DEPLOYMENT, NOW)
    assert not is_void(slot, NOW + seconds(3.4))
    assert is_void(slot, NOW + seconds(3.400001))


@given(st.floats(0.1, 2000))
def test_tolerance_is_what_no_policed_window_can_notice(rpm):
    deployment = replace(DEPLOYMENT, requests_per_minute=rpm)
    slot = make_slot(deployment, NOW)
    assert timedelta(0) < slot.tolerance <= slot.interval / 2 + timedelta(microseconds=1)
    for window in (1.0, 10.0, 60.0):
        share = -(-window * rpm // 60)
        spare = share * slot.interval.total_seconds() - window
        assert slot.tolerance.total_seconds() <= max(spare, 0.025) + 1e-6


def test_a_block_voids_the_slots_before_it_and_delays_the_next():
    slot, record = Record().reserve(DEPLOYMENT, NOW, 1, "w")
    record = record.blocked(DEPLOYMENT, NOW + seconds(20), None, NOW)
    assert record.voids(slot)
    following, record = record.reserve(DEPLOYMENT, NOW, 1, "w")
    assert following.at == NOW + seconds(20)
    assert not record.voids(following)
    assert following.interval == seconds(6.8)


def test_a_shorter_block_does_not_end_a_longer_one():
    record = Record().blocked(DEPLOYMENT, NOW + seconds(60), None, NOW)
    assert record.blocked(DEPLOYMENT, NOW + seconds(5), None, NOW).blocked_until == NOW + seconds(60)


def test_a_429_that_pacing_cannot_explain_stretches_the_interval_for_ten_minutes():
    slot, record = Record().reserve(DEPLOYMENT, NOW, 1, "w")
    record = record.blocked(DEPLOYMENT, NOW + seconds(3), slot, NOW + seconds(1))
    following, record = record.reserve(DEPLOYMENT, NOW + seconds(1), 1, "w")
    assert following.at == slot.at + seconds(10.2)
    assert following.interval == seconds(10.2)
    after = NOW + seconds(601)
    assert record.reserve(DEPLOYMENT, after, 1, "w")[0].interval == seconds(6.8)


def test_a_429_of_a_call_that_a_block_overtook_stretches_nothing():
    slot, record = Record().reserve(DEPLOYMENT, NOW, 1, "w")
    record = record.blocked(DEPLOYMENT, NOW + seconds(30), None, NOW)
    assert record.blocked(DEPLOYMENT, NOW + seconds(30), slot, NOW).stretched_until is None


def test_a_deployment_is_out_until_its_configuration_changes():
    record = Record(out_reason="401", out_fingerprint=fingerprint(DEPLOYMENT), out_since=NOW)
    changed = replace(DEPLOYMENT, endpoint="https://other.example.com")
    assert record.is_out(DEPLOYMENT, NOW)
    assert not record.is_out(changed, NOW)
    _, record = record.reserve(changed, NOW, 1, "w")
    assert (record.out_reason, record.out_fingerprint, record.out_since) == (None, None, None)


def test_a_deployment_that_is_out_is_asked_again_after_ten_minutes():
    record = Record(out_fingerprint=fingerprint(DEPLOYMENT), out_since=NOW, out_reason="HTTP 401")
    assert record.is_out(DEPLOYMENT, NOW + OUT_FOR - timedelta(seconds=1))
    assert not record.is_out(DEPLOYMENT, NOW + OUT_FOR)


@pytest.mark.parametrize("change", [{"requests_per_minute": 10}, {"region": "x"}, {"priority": 1}, {"scope": "s"}])
def test_every_setting_of_a_deployment_is_in_its_fingerprint(change):
    assert fingerprint(replace(DEPLOYMENT, **change)) != fingerprint(DEPLOYMENT)
    assert fingerprint(replace(DEPLOYMENT)) == fingerprint(DEPLOYMENT)
