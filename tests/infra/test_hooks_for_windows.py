"""The hooks of azd for Windows take the same steps as those that tests/infra/test_hooks.py runs.

PowerShell is not there to run them, so they are read.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import tree_sitter_powershell
from tree_sitter import Language, Parser

from tests.infra.reference import INFRA

HOOKS = INFRA / "hooks"


def az_calls(script: str) -> list[str]:
    """Each call of az in a script, its options sorted, without how the shell writes variables and breaks lines."""
    text = re.sub(r"[`\\]\n\s*", " ", (HOOKS / script).read_text())
    found = re.findall(r"\baz ((?:[a-z-]+ )+)((?:--[a-z-]+[^-]*?(?: |$))*)", text, re.MULTILINE)
    return [f"{verb.strip()} {' '.join(sorted(set(re.findall(r'--[a-z-]+', options))))}" for verb, options in found]


@pytest.mark.parametrize("hook", ["postdeploy", "postprovision"])
def test_windows_asks_azure_the_same_things_in_the_same_order(hook: str) -> None:
    posix = [call.split(" --")[0] for call in az_calls(f"{hook}.sh") if " --" in call]
    windows = [call.split(" --")[0] for call in az_calls(f"{hook}.ps1") if " --" in call]

    assert len(posix) >= 4
    assert sorted(posix) == sorted(windows)


@pytest.mark.parametrize("script", sorted(HOOKS.glob("*.ps1")), ids=lambda path: path.name)
def test_a_powershell_grammar_reads_the_whole_script(script: Path) -> None:
    read = Parser(Language(tree_sitter_powershell.language())).parse(script.read_bytes())

    assert not read.root_node.has_error


@pytest.mark.parametrize("hook", ["postdeploy", "postprovision"])
def test_windows_says_the_same_when_something_is_missing(hook: str) -> None:
    def said(script: str, pattern: str) -> set[str]:
        found = re.findall(pattern, (HOOKS / script).read_text())
        return {re.sub(r"\$(?:env:)?\w+", "…", one[1:-1]) for one in found}

    posix = said(f"{hook}.sh", r"""\bfail ("[^"\n]+")""")
    windows = said(f"{hook}.ps1", r"""Stop-Hook (["'].+?["']) @""")

    assert len(posix) >= 4
    assert posix - windows <= {"… is not there; uploads are not announced yet."}


def test_both_scripts_name_the_function_and_the_subscriptions_alike() -> None:
    for script in ("postdeploy.sh", "postdeploy.ps1"):
        text = (HOOKS / script).read_text()
        assert re.search(r"^\$?function ?= ?'?announce_upload'?$", text, re.MULTILINE)
        named = re.findall(r"^ +\$?(subscription|former) ?= ?'?([a-z-]+)'?$", text, re.MULTILINE)
        assert named == [
            *(("subscription", "uploads-to-queue"), ("former", "uploads-to-app")),
            *(("subscription", "uploads-to-app"), ("former", "uploads-to-queue")),
        ]
