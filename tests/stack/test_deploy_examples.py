"""The first steps of docs/deploy.md after `azd up`, run as they stand there against the local stack.

`azd` and `az` are stand-ins that know the stack's URL and key as they would know the deployed app's.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from local.state import StackInfo

PAGE = (Path(__file__).parents[2] / "docs" / "deploy.md").read_text()


def steps() -> list[str]:
    section = PAGE.split("\n## From a clone to a first image\n")[1].split("\n## ")[0]
    return re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


@pytest.fixture
def tools(stack: StackInfo, tmp_path: Path) -> Path:
    """A folder with `azd`, `az` and `python3`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    values = {
        "SERVICE_API_URI": stack.app,
        "SERVICE_API_NAME": "app",
        "AZURE_RESOURCE_GROUP": "rg",
        "AZURE_SUBSCRIPTION_ID": "s",
    }
    keys = "functionapp keys list --subscription s --resource-group rg --name app --query functionKeys.default"
    answers = {
        "azd": {f"env get-value {name}": value for name, value in values.items()},
        "az": {f"{keys} --output tsv": stack.key},
    }
    for name, known in answers.items():
        cases = "".join(f"{shlex.quote(asked)}) echo {shlex.quote(value)} ;;\n" for asked, value in known.items())
        (folder / name).write_text(f'#!/bin/sh\ncase "$*" in\n{cases}*) exit 64 ;;\nesac\n')
        (folder / name).chmod(0o755)
    (folder / "python3").symlink_to(sys.executable)
    return folder


def test_the_first_image_is_made_as_the_page_says(
    tools: Path, tmp_path: Path, quiet_environment: dict[str, str]
) -> None:
    _, look, image, jobs = steps()
    environment = quiet_environment | {"PATH": f"{tools}:{quiet_environment['PATH']}"}
    said = subprocess.run(
        ["/bin/sh", "-eu", "-c", f"{look}\necho\n{image}\n{jobs}"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert said.returncode == 0, said.stderr
    health, listed = (json.loads(line) for line in said.stdout.splitlines())
    assert health["deployments"][0]["name"] == "gpt-image-1"
    assert (tmp_path / "harbour.png").read_bytes().startswith(b"\x89PNG")
    # The answer may be there before its job has ended: images are passed on while they are stored.
    (job,) = listed["data"]
    assert job["kind"] == "generate"
    assert job["status"] in ("running", "succeeded")
