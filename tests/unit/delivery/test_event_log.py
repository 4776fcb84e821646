"""The log of a job in Azurite: lines appended whole, in the order of the calls, and read while it grows."""

import json
from typing import Any

import pytest

from shared.delivery.event_log import MAX_LINE_BYTES, EventLog, EventLogWriter, Line
from shared.errors import DarkroomError
from tests.support.fake_blobs import fake_blobs
from tests.unit.delivery.test_azurite import storage

NAME = "requests/job/events"


def said(lines: list[Line]) -> list[dict[str, Any]]:
    return [line.members() for line in lines]


async def test_what_is_appended_is_read_from_any_boundary_on(azurite_environment):
    lines = [{"call": 1, "event": "é\n\r\u2028", "number": number} for number in range(5)]
    async with storage(azurite_environment.blob) as (blobs, _):
        log, writer = EventLog(blobs, NAME), EventLogWriter(blobs, NAME)
        assert (await log.read(), await writer.open(), await log.read()) == ([], [], [])
        for line in lines:
            assert await writer.append(line)
        found = await log.read()

        assert said(found) == lines
        assert said(await log.read(found[2].end)) == lines[3:]
        assert await log.read(found[-1].end) == []
        for line in found:
            assert await log.is_boundary(line.end)
            assert not await log.is_boundary(line.end - 1)
        assert not await log.is_boundary(found[-1].end + 1)
        assert not await log.is_boundary(10**11)
        assert not await EventLog(blobs, "requests/other/events").is_boundary(1)


async def test_a_runner_that_was_taken_over_from_writes_no_line_behind_its_successors_first(azurite_environment):
    async with storage(azurite_environment.blob) as (blobs, _):
        stalled, successor = EventLogWriter(blobs, NAME), EventLogWriter(blobs, NAME)
        await stalled.open()
        assert await stalled.append({"call": 1, "number": 0})
        assert said(await successor.open()) == [{"call": 1, "number": 0}]
        assert await stalled.append({"call": 1, "number": 1})
        assert await successor.append({"call": 2, "number": 0}), "the line that came meanwhile was read over"
        assert not await stalled.append({"call": 1, "number": 2})
        assert await successor.append({"call": 2, "number": 1})
        late = EventLogWriter(blobs, NAME)
        await late.open()
        assert not await late.append({"call": 1, "number": 3})

        found = [(line["call"], line["number"]) for line in said(await EventLog(blobs, NAME).read())]
        assert found == [(1, 0), (1, 1), (2, 0), (2, 1)]


async def test_a_line_whose_answer_was_lost_is_there_once(monkeypatch):
    monkeypatch.setattr("shared.platform.blobs._FIRST_DELAY", 0.0)
    async with fake_blobs() as (fake, blobs):
        writer = EventLogWriter(blobs, NAME)
        fake.faults.append("lose")
        assert await writer.open() == []
        for number in range(3):
            fake.faults.append("lose")
            assert await writer.append({"call": 1, "number": number})

        assert [json.loads(line)["number"] for line in fake.blobs[NAME].splitlines()] == [0, 1, 2]


async def test_a_line_that_was_given_up_and_landed_all_the_same_is_read_over(monkeypatch):
    monkeypatch.setattr("shared.platform.blobs.WRITE_TRIES", 1)
    async with fake_blobs() as (fake, blobs):
        writer = EventLogWriter(blobs, NAME)
        await writer.open()
        fake.faults.append("lose")
        with pytest.raises(DarkroomError) as caught:
            await writer.append({"call": 1, "number": 0})
        assert await writer.append({"call": 1, "number": 1})

        assert caught.value.code == "storage_unavailable"
        assert [json.loads(line)["number"] for line in fake.blobs[NAME].splitlines()] == [0, 1]


async def test_half_a_line_is_not_read_until_it_is_whole():
    async with fake_blobs() as (fake, blobs):
        fake.blobs[NAME] = b'{"call":1}\n{"call'
        fake.properties[NAME] = {}
        found = await EventLog(blobs, NAME).read()
        fake.blobs[NAME] += b'":2}\n'

        assert said(found) == [{"call": 1}]
        assert said(await EventLog(blobs, NAME).read(found[-1].end)) == [{"call": 2}]


async def test_a_log_that_was_removed_takes_no_more_lines(azurite_environment):
    async with storage(azurite_environment.blob) as (blobs, service):
        writer = EventLogWriter(blobs, NAME)
        await writer.open()
        await service.get_blob_client("requests", "job/events").delete_blob()
        with pytest.raises(DarkroomError) as caught:
            await writer.append({"call": 1})

        assert caught.value.code == "storage_unavailable"
        assert await EventLog(blobs, NAME).read() == []


async def test_a_line_that_no_reader_should_have_to_hold_is_refused():
    async with fake_blobs() as (_, blobs):
        with pytest.raises(ValueError, match="too long"):
            await EventLogWriter(blobs, NAME).append({"call": 1, "text": "x" * MAX_LINE_BYTES})
