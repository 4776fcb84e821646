"""What `azd deploy` sends: the app and nothing else."""

from __future__ import annotations

import fnmatch
import re
import subprocess
from typing import Any

import pytest
import yaml

from tests.infra.reference import INFRA, ROOT

NEEDED = {"function_app.py", "functions", "host.json", "requirements.txt", "shared"}
IGNORED = [line for line in (ROOT / ".funcignore").read_text().splitlines() if line and not line.startswith("#")]


# The last is what `azd restore` makes, named after the folder.
_OF_THIS_MACHINE = (".venv", ".local", ".git", ".azure", ".env", "local.settings.json", "darkroom_env")


def is_sent(name: str) -> bool:
    return not any(fnmatch.fnmatch(name, pattern) for pattern in IGNORED)


def test_the_package_is_the_app_and_nothing_else() -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()

    assert {name for name in {path.split("/")[0] for path in tracked} if is_sent(name)} == NEEDED


def test_nothing_that_the_app_needs_is_held_back_by_a_pattern() -> None:
    files = [path for name in NEEDED for path in (ROOT / name).rglob("*") if path.is_file()]
    held_back = {part for path in files for part in path.relative_to(ROOT).parts if not is_sent(part)}

    assert held_back <= {"__pycache__"} | {path.name for path in files if path.suffix == ".pyc"}
    assert is_sent("models.json"), "the app reads it"
    assert is_sent("prices.json"), "an operator's own prices go with the app"


@pytest.mark.parametrize("page", ["README.md", "docs/clients.md"])
def test_what_the_examples_save_in_this_folder_stays_here(page: str) -> None:
    text = (ROOT / page).read_text()
    saved = re.findall(r"Save this as `([\w.]+)`", text) + re.findall(r'Path\("([\w.-]+)"\)\.write_bytes', text)

    assert "harbour.png" in saved
    assert [name for name in saved if is_sent(name)] == []
    ignored = subprocess.run(["git", "check-ignore", *saved], cwd=ROOT, capture_output=True, text=True, check=False)
    assert sorted(ignored.stdout.split()) == sorted(saved)


def test_folders_of_this_machine_stay_here() -> None:
    assert [name for name in _OF_THIS_MACHINE if is_sent(name)] == []


def azure_yaml() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "azure.yaml").read_text())
    return found


def test_azd_deploys_this_folder_as_a_function_app() -> None:
    found = azure_yaml()

    assert found["services"] == {"api": {"project": ".", "language": "python", "host": "function"}}
    assert found["infra"] == {"provider": "bicep", "path": "infra", "module": "main"}
    assert found["metadata"]["template"].startswith("darkroom@")
    assert found["requiredVersions"] == {"azd": ">= 1.18.0"}, "older ones do not read .funcignore"


def test_every_hook_is_there_for_posix_and_windows_and_can_be_run() -> None:
    hooks = azure_yaml()["hooks"]
    named = {one["run"] for hook in hooks.values() for one in hook.values()}

    assert {name: {system: one["shell"] for system, one in hook.items()} for name, hook in hooks.items()} == {
        "postprovision": {"posix": "sh", "windows": "pwsh"},
        "postdeploy": {"posix": "sh", "windows": "pwsh"},
    }
    assert named == {f"infra/hooks/{path.name}" for path in (INFRA / "hooks").iterdir()}
    assert all((ROOT / name).stat().st_mode & 0o111 for name in named if name.endswith(".sh"))
