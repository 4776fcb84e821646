"""What may be written to logs: nothing that opens a door or repeats a prompt (design section 7, rule 5).

Libraries under the app log request lines of their own: httpx and uvicorn's access log write whole URLs, and with them
the signatures of links and the tokens of polls. They are silenced here, once, when the app is loaded.
"""

from __future__ import annotations

import logging

_SPEAKS_FROM_WARNING = ("azure.core", "azure.identity", "azure.storage", "azure.data", "httpx", "httpcore", "aiohttp")


def quiet_libraries() -> None:
    """Keep URLs out of the logs. A filter, not a level: uvicorn sets its own levels when the worker starts it."""
    for name in _SPEAKS_FROM_WARNING:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("uvicorn.access").addFilter(_never)


def _never(_record: logging.LogRecord) -> bool:
    return False
