"""The whole local stack before the bench's model server: what host and Azurite add here, where Azure has others."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from bench import contenders
from bench.connection import Connection
from bench.contenders import Field
from local.stack import Stack, StackOptions

_REQUESTS_PER_MINUTE: Final = 1200
"""A turn every 51 ms: one client, who waits for each answer, never waits for it."""
_WARM: Final = 3


def seconds(field: Field, directory: Path, answers: Sequence[str], repetitions: int) -> dict[str, float]:
    """By answer: the median of one client's requests through the stack."""
    with tempfile.TemporaryDirectory(prefix="stack-", dir=directory) as name:
        environ = {
            **contenders.environment(field.certificates),
            "DEPLOYMENTS": json.dumps(
                [
                    {
                        "name": answer,
                        "endpoint": field.model,
                        "model": "gpt-image-1",
                        "requests_per_minute": _REQUESTS_PER_MINUTE,
                    }
                    for answer in answers
                ]
            ),
        }
        with Stack(
            StackOptions(directory=Path(name), environ=environ, certificates=directory / "certificates")
        ) as info:
            port = urlsplit(info.app).port
            assert port
            return {answer: _median(port, info.key, answer, repetitions) for answer in answers}


def _median(port: int, key: str, answer: str, repetitions: int) -> float:
    head, body = contenders.request(answer)
    request = f"{head}x-functions-key: {key}\r\n\r\n".encode() + body
    taken = []
    for number in range(_WARM + repetitions):
        with Connection(port) as connection:
            begun = time.perf_counter()
            connection.send(request)
            answered = connection.receive(len)
            if number >= _WARM:
                taken.append(time.perf_counter() - begun)
            assert b" 200 " in answered[:20], answered
    return statistics.median(taken)
