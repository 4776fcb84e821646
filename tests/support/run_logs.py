"""All that a run of the tests logged, searched at its end for what may never be in a log (design: no secret, no prompt,
no signature, no token).

1. `watch`: the folder where a stack's parts write, with the credentials that only this stack has. `note_calls`: the
   prompts that were sent. `keep`: what else was said and is in no log file, as the traces that a receiver took.
2. `keeping_lines`: the app's own loggers, for tests that run the app in their own process.
3. `findings`: where something was found, each a sentence.

It sees the processes that this one started. Under a runner of several processes each searches what it started itself.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CREDENTIALS = {
    "a signature": re.compile(r"sig=|[?&]se=\d{4}|skoid="),
    "a poll token": re.compile(r"token=|/poll\?"),
    "a bearer token": re.compile(r"eyJ[\w-]{10,}\.|[Bb]earer\s+\w"),
    "an account key": re.compile(r"AccountKey|SharedKey"),
    "a signing key": re.compile(r"whsec_"),
    "a word of the tests' prompts and secrets": re.compile(r"(?i)tangerine|s3cret"),
}
"""What gives itself away, whoever it belongs to. The words of the last are used for prompts and secrets alone."""
LOGGERS = ("darkroom", "shared", "functions")
_SHORTEST_PROMPT = 8
_WORDS = re.compile(r"\w\W+[^\W\d_]{4}|[^\W\d_]{4}\W+\w")
_BEGINNING = 24
"""A log line may cut a long prompt off: its beginning is looked for."""


class RunLogs:
    """What one process's tests made the app and the stand-ins of the stack log; `folder` takes what is `keep`-ed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._folders: set[Path] = {folder}
        self._secrets: dict[str, str] = {}
        self._kept = 0

    def watch(self, folder: Path, **secrets: str) -> None:
        """Search the `*.log` files of `folder`; `secrets` by what they are (`function_key=...`) may be in none."""
        self._folders.add(folder)
        self._secrets |= {secret: what.replace("_", " ") for what, secret in secrets.items()}

    def note_calls(self, calls: Iterable[dict[str, Any]]) -> None:
        """The prompts among what a model server took. Those of a word, or of single letters, are left out: any line may
        have them."""
        for call in calls:
            prompt = str(call["parameters"].get("prompt", ""))[:_BEGINNING]
            if len(prompt) >= _SHORTEST_PROMPT and _WORDS.search(prompt):
                self._secrets[prompt] = "a prompt"

    def keep(self, name: str, text: str) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._kept += 1
        (self._folder / f"{name}-{self._kept}.log").write_text(text)

    @contextmanager
    def keeping_lines(self, loggers: Iterable[str] = LOGGERS) -> Iterator[None]:
        """Keep what `loggers` say in this process meanwhile."""
        self._folder.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(self._folder / "in-process.log", delay=True)
        handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
        for name in loggers:
            logging.getLogger(name).addHandler(handler)
            logging.getLogger(name).setLevel(logging.INFO)  # as on Azure
        try:
            yield
        finally:
            for name in loggers:
                logging.getLogger(name).removeHandler(handler)
            handler.close()

    def findings(self) -> list[str]:
        """Where something is that may not be: file, line, what. Its own words are left out of what is said."""
        logs = [log for folder in sorted(self._folders) for log in sorted(folder.glob("*.log"))]
        return [found for log in logs for found in self._in(log)]

    def _in(self, log: Path) -> Iterator[str]:
        text = log.read_text(errors="replace")
        for what, pattern in CREDENTIALS.items():
            for match in pattern.finditer(text):
                yield _found(log, text, match.start(), what)
        for secret, what in self._secrets.items():
            for form in {secret, ascii(secret)[1:-1]}:  # as it is, and as JSON and `repr` have it
                at = text.find(form)
                if at >= 0:
                    yield _found(log, text, at, what)


def _found(log: Path, text: str, at: int, what: str) -> str:
    number = text.count("\n", 0, at) + 1
    begin = text.rfind("\n", 0, at) + 1
    return f"{log}, line {number}: {what} after {text[begin:at][-80:]!r}"
