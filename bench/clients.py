"""Several clients at once, each on a connection of its own."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from bench.connection import Connection


def at_once(clients: int, client: Callable[[int], None]) -> None:
    """Runs `client(0)`, `client(1)`, ... in threads; raises what one of them raised."""
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(client, range(clients)))


def share(clients: int, count: int, connect: Callable[[], Connection], ask: Callable[[Connection], bytes]) -> None:
    """`count` requests, each by whichever client is free. Raises AssertionError when one is not answered with 200."""
    numbers, lock = itertools.count(), threading.Lock()

    def client(_: int) -> None:
        with connect() as connection:
            while True:
                with lock:
                    if next(numbers) >= count:
                        return
                accepted(ask(connection))

    at_once(clients, client)


def accepted(head: bytes) -> None:
    """Raises AssertionError unless `head` is that of a 200."""
    assert b" 200 " in head[:20], head
