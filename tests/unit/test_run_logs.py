"""The search of all that a run of the tests logged finds what may not be there, and nothing else."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from tests.support.run_logs import RunLogs

PROMPT = "a lighthouse in a storm, as Turner would have painted it"


@pytest.fixture
def logs(tmp_path: Path) -> RunLogs:
    return RunLogs(tmp_path / "kept")


def told(logs: RunLogs) -> list[str]:
    return [found.partition(": ")[2].partition(" after ")[0] for found in logs.findings()]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("GET https://account.blob/results/0.png?sp=r&sig=a%2Bb", "a signature"),
        ("GET /api/jobs/1/poll?x=1", "a poll token"),
        ("Authorization: Bearer abc", "a bearer token"),
        ("header eyJhbGciOiJSUzI1NiJ9.e30.x", "a bearer token"),
        ("AccountName=a;AccountKey=b", "an account key"),
        ("key whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "a signing key"),
        ("a Tangerine lamp", "a word of the tests' prompts and secrets"),
        ("x-functions-key: pAssw0rd/", "function key"),
        ("job 1 was asked for a lighthouse in a storm, as Turner wou", "a prompt"),
        ("job 1 was asked for \\u706f\\u53f0\\u306e\\u7d75 \\u5915\\u66ae\\u308c\\u306e\\u6d77", "a prompt"),
    ],
)
def test_what_may_not_be_in_a_log_is_found(logs: RunLogs, tmp_path: Path, line: str, what: str) -> None:
    stack = tmp_path / "stack"
    stack.mkdir()
    logs.watch(stack, function_key="pAssw0rd/")
    logs.note_calls([{"parameters": {"prompt": PROMPT}}, {"parameters": {"prompt": "灯台の絵 夕暮れの海"}}])
    (stack / "host.log").write_text(f"job 1 ended: succeeded\n{line}\n")

    assert told(logs) == [what]
    [found] = logs.findings()
    assert f"{stack / 'host.log'}, line 2" in found
    assert "pAssw0rd" not in found


def test_what_may_be_in_a_log_is_not_found(logs: RunLogs, tmp_path: Path) -> None:
    logs.watch(tmp_path)
    logs.note_calls([{"parameters": {"prompt": "p"}}, {"parameters": {"prompt": "succeeded"}}, {"parameters": {}}])
    (tmp_path / "host.log").write_text("job 1 ended: succeeded\nPOST /api/jobs answered 202\n")

    assert logs.findings() == []


def test_what_a_receiver_took_and_what_the_app_says_in_this_process_is_searched_too(logs: RunLogs) -> None:
    with logs.keeping_lines(["tests.kept"]):  # the app's own loggers are searched when this very run ends
        logging.getLogger("tests.kept").info("job %s: %s", "1", "Bearer abc")
        logging.getLogger("tests.other").warning("Bearer abc")
    logs.keep("telemetry", '{"name": "run", "attributes": {"prompt": "a tangerine"}}')

    assert told(logs) == ["a bearer token", "a word of the tests' prompts and secrets"]
