"""`make demo`: a newcomer's first minute."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from local.state import StackInfo, running
from tests.support.model_control import ModelControl

ROOT = Path(__file__).parents[2]


def demo(directory: Path) -> subprocess.CompletedProcess[str]:
    """Run the demo on the stack in `directory`."""
    environ = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-m", "local.demo", "--dir", str(directory)],
        cwd=ROOT,
        env={**environ, "LOCAL_LATENCY": "0", "LOCAL_RPM": "1200"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_demo_brings_a_stack_up_shows_everything_and_takes_it_down(tmp_path: Path) -> None:
    done = demo(tmp_path)

    assert done.returncode == 0, done.stderr
    for shown in ("cost 0.0", "provenance: trusted", "sha256 ", "Darkroom.Job.Succeeded", "results/"):
        assert shown in done.stdout
    assert "Traceback" not in done.stderr
    assert running(tmp_path) is None
    pictures = tmp_path / "demo"
    assert {path.name for path in pictures.iterdir()} == {
        "generated.png",
        "photograph.jpg",
        "mask.png",
        "edited.png",
        "job-0.jpg",
        "job-1.jpg",
    }
    kept = np.asarray(Image.open(pictures / "mask.png"))[:, :, 3] > 0
    photograph, edited = (np.asarray(Image.open(pictures / name)) for name in ("photograph.jpg", "edited.png"))
    assert np.array_equal(photograph[kept], edited[kept])
    assert not np.array_equal(photograph[~kept], edited[~kept])


def test_the_demo_uses_the_running_stack_and_says_in_a_sentence_what_is_wrong(stack: StackInfo) -> None:
    ModelControl(stack.model).fail({"name": "moderation_blocked"})

    done = demo(Path(stack.directory))

    assert done.returncode == 1
    assert "moderation_blocked" in done.stderr
    assert "POST /openai/v1/images/generations answered 400" in done.stderr
    assert "Traceback" not in done.stderr
    assert f"Darkroom is at {stack.app}." in done.stdout
    assert "brought up" not in done.stdout
