"""What may be written to logs: nothing that opens a door or repeats a prompt (design section 7, rule 5).

Libraries under the app log request lines of their own: httpx and uvicorn's access log write whole URLs, and with them
the signatures of links and the tokens of polls. They are silenced here, once, when the app is loaded.
"""

from __future__ import annotations

import functools
import logging
import traceback
from collections.abc import Awaitable, Callable

from shared.platform import exporting, tracing

log = logging.getLogger("darkroom")

_SPEAKS_FROM_WARNING = ("azure.core", "azure.identity", "azure.storage", "azure.data", "httpx", "httpcore", "aiohttp")
_SPEAKS_OF_ITSELF = ("urllib3", "opentelemetry", "azure.monitor")  # what `exporting` sends by


def quiet_libraries() -> None:
    """Keep URLs out of the logs. A filter, not a level: uvicorn sets its own levels when the worker starts it."""
    for name in (*_SPEAKS_FROM_WARNING, *_SPEAKS_OF_ITSELF):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # a caller's bad form is the caller's matter
    logging.getLogger("uvicorn.access").addFilter(_never)
    log.addFilter(tracing.name_the_job)


def log_unexpected(where: str, error: BaseException) -> None:
    """Where and what kind of failure, without its message: that may quote what a caller sent."""
    frames = "".join(traceback.format_tb(error.__traceback__))
    log.error("%s failed unexpectedly: %s\n%s", where, type(error).__name__, frames)


class UnexpectedError(Exception):
    """Stands for a failure whose own message must not reach the host's log."""


def without_words[**P](function: Callable[P, Awaitable[None]]) -> Callable[P, Awaitable[None]]:
    """Let `function` (of a queue or a timer) fail for the host, whose log gets the kind of failure and no message."""

    @functools.wraps(function)
    async def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            await exporting.begin()
            await function(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - it is raised again, but for its words
            log_unexpected(function.__name__, error)
            raise UnexpectedError(f"{function.__name__}: {getattr(error, 'code', type(error).__name__)}") from None

    return guarded


def _never(_record: logging.LogRecord) -> bool:
    return False
