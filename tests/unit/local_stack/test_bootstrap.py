"""How `make` finds Python 3.13, and that what is installed is not installed again."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from local import bootstrap

PROJECT = Path(__file__).resolve().parents[3]


def fake_python(path: Path, version: tuple[int, int]) -> list[str]:
    """Make a command that answers as the Python of `version` would."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho {version[0]} {version[1]} '{path}'\n")
    path.chmod(0o755)
    return [str(path)]


def test_the_first_python_of_the_wanted_version_is_taken(tmp_path: Path) -> None:
    commands = [
        ["no-such-command-anywhere"],
        fake_python(tmp_path / "a" / "python3", (3, 11)),
        fake_python(tmp_path / "with space" / "python3", (3, 13)),
        fake_python(tmp_path / "b" / "python3", (3, 13)),
    ]
    assert bootstrap.find_python(iter(commands)) == str(tmp_path / "with space" / "python3")


def test_a_shim_that_does_not_work_here_is_passed_over(tmp_path: Path) -> None:
    shim = tmp_path / "python3.13"
    shim.write_text("#!/bin/sh\necho 'pyenv: python3.13: command not found' >&2\nexit 127\n")
    shim.chmod(0o755)
    good = fake_python(tmp_path / "python", (3, 13))
    assert bootstrap.find_python(iter([[str(shim)], good])) == good[0]


def test_no_python_of_the_version_is_said_with_what_was_seen_and_what_to_do(tmp_path: Path) -> None:
    old = fake_python(tmp_path / "python3", (3, 11))
    with pytest.raises(bootstrap.BootstrapError) as raised:
        bootstrap.find_python(iter([old]))
    assert "needs Python 3.13" in str(raised.value)
    assert f"{old[0]} is 3.11" in str(raised.value)
    assert "uv python install 3.13" in str(raised.value)


def test_a_python_found_by_uv_alone_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = fake_python(tmp_path / "uv-pythons" / "python3.13", (3, 13))
    uv = tmp_path / "bin" / "uv"
    uv.parent.mkdir()
    uv.write_text(f"#!/bin/sh\necho '{real[0]}'\n")
    uv.chmod(0o755)
    monkeypatch.setenv("PATH", str(uv.parent))
    monkeypatch.setattr(sys, "version_info", (3, 11, 2, "final", 0))
    assert bootstrap.find_python() == real[0]


def test_the_file_uses_no_syntax_or_module_newer_than_python_38() -> None:
    source = (PROJECT / "local" / "bootstrap.py").read_text()
    tree = ast.parse(source, feature_version=(3, 8))
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)} | {
        alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    }
    assert imported <= {
        "__future__",
        "collections.abc",
        "pathlib",
        "hashlib",
        "os",
        "shutil",
        "subprocess",
        "sys",
        "time",
    }


def test_what_is_installed_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    venv, requirements = tmp_path / ".venv", tmp_path / "requirements-dev.txt"
    fake_python(bootstrap.venv_python(venv), (3, 13))
    requirements.write_text("x==1\n")
    (venv / bootstrap.STAMP).write_text(bootstrap._digest(requirements))
    monkeypatch.setattr(bootstrap, "VENV", venv)
    monkeypatch.setattr(bootstrap, "venv_python", lambda: venv / "bin" / "python")
    monkeypatch.setattr(bootstrap, "REQUIREMENTS", requirements)
    monkeypatch.setattr(bootstrap, "_run", lambda *_, **__: pytest.fail("nothing was to be installed"))
    bootstrap.install_packages()
    requirements.write_text("x==2\n")
    ran: list[list[str]] = []
    monkeypatch.setattr(bootstrap, "_run", lambda command, *_, **__: ran.append(command))
    monkeypatch.setattr(shutil, "which", lambda _: None)
    bootstrap.install_packages()
    assert [command[1:4] for command in ran] == [["-m", "pip", "install"]]
    assert "--require-hashes" in ran[0]


@pytest.mark.parametrize("folder", bootstrap.NODE_FOLDERS, ids=lambda folder: folder.parent.name)
def test_the_lock_file_names_no_address_and_every_package_has_a_hash(folder: Path) -> None:
    lock = json.loads((folder / "package-lock.json").read_text())
    packages = {name: package for name, package in lock["packages"].items() if name}
    assert [name for name, package in packages.items() if "resolved" in package] == []
    assert [name for name, package in packages.items() if "integrity" not in package] == []
    wanted = json.loads((folder / "package.json").read_text())["dependencies"]
    assert {name: packages[f"node_modules/{name}"]["version"] for name in wanted} == wanted


def test_node_packages_that_are_there_are_not_installed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[Path] = []
    monkeypatch.setattr(bootstrap, "PROJECT", tmp_path)
    monkeypatch.setattr(bootstrap, "_run", lambda *_, cwd, **__: ran.append(cwd))
    for name in ("package.json", "package-lock.json"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "node_modules").mkdir()
    bootstrap.install_node_packages(tmp_path, "a package")
    bootstrap.install_node_packages(tmp_path, "a package")
    assert ran == [tmp_path]
    (tmp_path / "package-lock.json").write_text('{"packages": {}}')
    bootstrap.install_node_packages(tmp_path, "a package")
    assert ran == [tmp_path, tmp_path]


def test_every_python_package_is_pinned_with_its_hash() -> None:
    for name in ("requirements.txt", "requirements-dev.txt"):
        text = (PROJECT / name).read_text().replace("\\\n", " ")
        pinned = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
        assert [line[:60] for line in pinned if "==" not in line or "--hash=sha256:" not in line] == []


def test_every_make_target_is_explained_by_help() -> None:
    listed = subprocess.run(["make", "help"], cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    names = {line.split()[1] for line in listed.splitlines()}
    assert names >= {"run", "demo", "test", "lint", "format", "clean", "help", "requirements", "bench"}
