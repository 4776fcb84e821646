"""The examples of README.md, docs/cost.md, docs/local.md and docs/migration.md, run as they stand there, in a folder
with a running stack."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from local.state import StackInfo
from shared.errors import DarkroomError
from shared.images.request import parse
from shared.settings import read
from tests.support.pages import ROOT, blocks, examples, like_the_project, run
from tests.support.peers import fetch
from tests.support.requests import polled_to_its_end


@pytest.fixture
def folder(stack: StackInfo, tmp_path: Path) -> Path:
    return like_the_project(tmp_path, stack)


async def test_the_first_requests_are_answered_as_the_readme_says(
    folder: Path, stack: StackInfo, quiet_environment: dict[str, str]
) -> None:
    (python, client), (shell, submit) = blocks("README.md")
    assert (python, shell) == ("python", "sh")

    run([sys.executable, "-c", client], folder, quiet_environment)
    said = run(["/bin/sh", "-euc", submit.replace("http://127.0.0.1:7071", stack.app)], folder, quiet_environment)

    assert (folder / "harbour.png").read_bytes().startswith(b"\x89PNG")
    assert re.match(r"HTTP/1\.1 202 ", said)
    (location,) = re.findall(r"^location: (\S+)", said, re.IGNORECASE | re.MULTILINE)
    job = await polled_to_its_end(location)
    assert (job["status"], job["metadata"]) == ("succeeded", {"order": "1017"})


def test_what_is_asked_of_estimates_jobs_and_usage_is_answered_as_shown(
    folder: Path, quiet_environment: dict[str, str]
) -> None:
    found = blocks("docs/cost.md")
    asked = [number for number, (language, _) in enumerate(found) if language == "sh"]
    assert len(asked) == 4

    for number in asked:
        answer = json.loads(run(["/bin/sh", "-c", found[number][1]], folder, quiet_environment))
        assert found[number + 1][0] == "json"
        assert_shown(json.loads(found[number + 1][1]), answer)


def assert_shown(shown: Any, answer: Any) -> None:
    """Whether `answer` has what is `shown`; a `…` stands for anything."""
    if isinstance(shown, dict):
        for name, value in shown.items():
            assert_shown(value, answer[name])
    elif isinstance(shown, list):
        for one, other in zip(shown, answer, strict=True):
            assert_shown(one, other)
    elif shown != "…":
        assert answer == shown


def test_the_stack_is_looked_into_and_made_to_misbehave_as_shown(
    folder: Path, stack: StackInfo, quiet_environment: dict[str, str]
) -> None:
    look, _, model, uploads = examples("docs/local.md", "sh")

    said = run(["/bin/sh", "-euc", f"{look}\n{model}\n{uploads}"], folder, quiet_environment)
    behaviour = fetch(stack, "GET", f"{stack.model}/_local/behaviour").json()
    key = {"x-functions-key": stack.key}
    events = fetch(stack, "GET", f"{stack.app}/admin/_local/blob-events", headers=key).json()["behaviour"]

    assert said.startswith('[]{"events":[]}')
    assert (behaviour["latency_seconds"], behaviour["rpm"]) == (20, 6)
    assert behaviour["faults"] == [{"cut_after_bytes": 100_000}, {"name": "moderation_blocked"}]
    assert (events["duplicate"], events["delay_seconds"], events["shuffle"]) == (0.33, [0, 2], True)


def test_programs_of_dall_e_run_as_shown(folder: Path, quiet_environment: dict[str, str]) -> None:
    programs = [text for text in examples("docs/migration.md", "python") if "stack.json" in text]
    assert len(programs) == 3

    said = [run([sys.executable, "-c", program], folder, quiet_environment) for program in programs]

    link, *changes = said[0].splitlines()
    assert link.startswith("https://")
    assert changes == [
        "model dall-e-3 -> gpt-image-1",
        "quality hd -> high",
        "size 1792x1024 -> 1536x1024",
        "style natural -> a sentence of the prompt",
    ]
    assert (folder / "harbour.png").read_bytes().startswith(b"\x89PNG")


def test_a_deployment_may_have_the_old_name() -> None:
    (listed,) = examples("docs/migration.md", "json")
    (deployment,) = read({"DEPLOYMENTS": listed}).deployments
    request = parse(
        {"prompt": "A harbour at dusk"},
        kind="generate",
        deployments={deployment.name: deployment.model},
        deployment="dall-e-3",
    )

    assert (request.model, deployment.deployment, request.adapted) == ("dall-e-3", "gpt-image-2", ())


@pytest.mark.parametrize(
    ("old", "code"),
    [
        ({"model": "dall-e-2"}, "deployment_not_found"),
        ({"size": "256x256"}, "invalid_value"),
        ({"size": "512x512"}, "invalid_value"),
    ],
)
def test_what_dall_e_2_alone_knew_is_refused_as_the_page_says(old: dict[str, str], code: str) -> None:
    with pytest.raises(DarkroomError) as refused:
        parse({"prompt": "A harbour at dusk", **old}, kind="generate", deployments={"main": "gpt-image-1"})

    (field,) = old
    assert refused.value.code == code
    assert f"`{code}`" in (ROOT / "docs" / "migration.md").read_text().split("## DALL-E 2")[1]
    assert refused.value.param == field


def test_what_is_left_out_has_the_values_the_page_says() -> None:
    request = parse({"prompt": "A harbour at dusk"}, kind="generate", deployments={"main": "gpt-image-1"})

    assert (request.size, request.quality, request.response_format) == ("1024x1024", "high", None)
    assert not any("variations" in trigger.get("route", "") for trigger in routes())


def routes() -> list[dict[str, str]]:
    snapshot = ROOT / "tests" / "app" / "bindings.json"
    return [of_function[0] for of_function in json.loads(snapshot.read_text()).values()]
