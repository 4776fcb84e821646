"""The examples of docs/clients.md, run as they stand there, in a folder like the project's while a stack runs."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from local.state import StackInfo
from shared.jobs.job import is_id
from tests.support.model_control import ModelControl
from tests.support.node import link_packages, run_node
from tests.support.photographs import mask, photograph

PAGE = Path(__file__).parents[2] / "docs" / "clients.md"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PNG = b"\x89PNG"
pytestmark = pytest.mark.usefixtures("small_images")


def examples(title: str, language: str) -> list[str]:
    """The blocks of one language under a heading, up to the next of any rank."""
    found = re.search(rf"^#+ {re.escape(title)}$(.*?)(?=^##+ |\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None, title
    return [text for one, text in _BLOCK.findall(found[1]) if one == language]


@pytest.fixture
def folder(stack: StackInfo, tmp_path: Path) -> Path:
    (tmp_path / ".local").mkdir()
    (tmp_path / ".local" / "stack.json").write_text((Path(stack.directory) / "stack.json").read_text())
    (tmp_path / ".venv").symlink_to(sys.prefix)
    (tmp_path / "photo.png").write_bytes(photograph())
    (tmp_path / "mask.png").write_bytes(mask())
    (tmp_path / "darkroom.py").write_text(examples("Python", "python")[0])
    (tmp_path / "darkroom.mjs").write_text(examples("JavaScript", "js")[0])
    (tmp_path / "events.mjs").write_text(examples("A web page", "js")[0])
    link_packages(tmp_path)
    return tmp_path


@pytest.fixture
def run_python(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs a program in this process, which has the client loaded already; what it printed."""
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)

    def run(program: str) -> str:
        capsys.readouterr()
        exec(compile(program, str(PAGE), "exec"), {"__name__": "__main__"})
        return capsys.readouterr().out

    yield run
    sys.modules.pop("darkroom", None)


def run_command(command: list[str], folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_js(folder: Path, stack: StackInfo, *programs: str) -> list[str]:
    """What each of the programs prints, one line or nothing, run one after the other."""
    names = [f"program-{number}.mjs" for number in range(len(programs))]
    for name, text in zip(names, programs, strict=True):
        (folder / name).write_text(text)
    imports = "".join(f'await import("./{name}");\nconsole.log("--");\n' for name in names)
    (folder / "all.mjs").write_text(imports)
    said = run_node(folder / "all.mjs", "--experimental-eventsource", ca=stack.ca)
    return [one.strip() for one in said.split("--\n")[:-1]]


# -- Python ------------------------------------------------------------------------------------------------------------


def test_python_generates_and_edits(folder: Path, run_python: Any, model: ModelControl) -> None:
    (edit,) = examples("Edit with a mask", "python")
    generate, linked = examples("Generate", "python")

    tokens = int(run_python(generate))
    link, told = run_python(linked).splitlines()
    run_python(edit)

    calls = model.calls()
    assert tokens == calls[0]["usage"]["total_tokens"]
    assert link.startswith("https://")
    assert re.fullmatch(r"[0-9a-z]{26} 0\.\d+ USD", told)
    assert [file["field"] for file in calls[2]["files"]] == ["image", "mask"]
    assert (folder / "harbour.png").read_bytes().startswith(PNG)
    assert (folder / "edited.png").read_bytes().startswith(PNG)


def test_python_streams_with_either_client(folder: Path, run_python: Any, model: ModelControl) -> None:
    sync, asynchronous = examples("Stream", "python")

    assert int(run_python(sync)) == model.calls()[0]["usage"]["total_tokens"]
    assert run_python(asynchronous).split() == ["image_edit.partial_image", "image_edit.completed"]

    for name in ("partial-0", "partial-1", "harbour", "edited"):
        assert (folder / f"{name}.png").read_bytes().startswith(PNG), name


def test_python_tells_errors_apart(run_python: Any, model: ModelControl) -> None:
    (program,) = examples("Errors and second tries", "python")
    assert run_python(program) == "done\n"

    model.fail({"cut_before_response": True})
    said = run_python(program)
    assert re.fullmatch(r"the model was called, so ask a person first: outcome_unknown [0-9a-z]{26}\n", said)

    said = run_python(program.replace('quality="low"', 'quality="best"'))
    assert said.startswith("change the request: invalid_value quality Error code: 400 - Invalid value: 'best'")
    assert len(model.calls()) == 2


def test_a_job_is_waited_for_and_polled(run_python: Any, model: ModelControl) -> None:
    (program,) = examples("A job, for whoever cannot wait", "python")
    waited = run_python(program)
    # Without the wait, and without the seconds between two looks, so that the test needs none.
    polled = run_python(program.replace("wait=20", "wait=0").replace('int(answer.headers["retry-after"])', "0.1"))

    for said in (waited, polled):
        assert re.match(r"succeeded 0\.\d+ https://", said), said

    model.fail({"name": "moderation_blocked"})
    with pytest.raises(SystemExit, match=r"^failed: .*safety system"):
        run_python(program)


# -- JavaScript --------------------------------------------------------------------------------------------------------


def test_javascript_generates_edits_and_streams(folder: Path, stack: StackInfo, model: ModelControl) -> None:
    _, images, streamed, _ = examples("JavaScript", "js")

    run_js(folder, stack, images, streamed.replace("harbour.png", "streamed.png"))

    for name in ("harbour", "edited", "partial-0", "partial-1", "streamed"):
        assert (folder / f"{name}.png").read_bytes().startswith(PNG), name
    assert len(model.calls()) == 3


def test_javascript_tells_errors_apart(folder: Path, stack: StackInfo, model: ModelControl) -> None:
    *_, program = examples("JavaScript", "js")
    model.fail({"cut_before_response": True})

    cut, wrong, done = run_js(folder, stack, program, program.replace('"low"', '"best"'), program)

    assert re.fullmatch(r"the model was called, so ask a person first: outcome_unknown [0-9a-z]{26}", cut)
    assert wrong == "change the request: invalid_value quality"
    assert done == "done"
    assert len(model.calls()) == 2


# -- a page ------------------------------------------------------------------------------------------------------------


def test_a_page_reads_a_stream_by_fetch_and_is_told_of_errors(
    folder: Path, stack: StackInfo, model: ModelControl
) -> None:
    _, program, _, _ = examples("A web page", "js")
    # Some of the page's reads end within a character, a line, an event.
    model.behave(chunk_size=997)
    request = {"model": "gpt-image-1", "prompt": "Ein Café am Fluß", "quality": "low"}
    use = """
const shown = [];
const jobs = new Set();
await generate(APP, REQUEST, (url, job) => { shown.push(url.slice(0, 40)); jobs.add(job); }, HEADERS);
await generate(APP, { ...REQUEST, size: "1x1" }, () => {}, HEADERS).catch((error) => shown.push(error.message));
await generate(APP, REQUEST, () => {}, {}).catch((error) => shown.push(error.message));
console.log(JSON.stringify([...jobs, ...shown]));
"""
    (said,) = run_js(folder, stack, program + filled(use, stack, REQUEST=request))
    job, *images, refused, without_key = json.loads(said)

    assert is_id(job)
    assert [url.partition(",")[0] for url in images] == ["data:image/png;base64"] * 3
    assert refused.startswith("Invalid value: '1x1'")
    assert without_key == "HTTP 401"


def test_a_page_reads_events_wherever_they_are_cut_and_whatever_text_they_hold(folder: Path, stack: StackInfo) -> None:
    text = 'id: 7\r\nevent: e\r\ndata: {"a": "\u2028 é: \\n"}\r\n\r\n: keep-alive\n\ndata: {"b": \ndata:  1}\n\n'
    use = """
import { events } from "./events.mjs";
const bytes = new TextEncoder().encode(TEXT);
const seen = new Set();
for (let cut = 0; cut <= bytes.length; cut++) {
  const body = new ReadableStream({ start(controller) {
    for (const piece of [bytes.slice(0, cut), bytes.slice(cut)]) controller.enqueue(piece);
    controller.close();
  } });
  const got = [];
  for await (const event of events(new Response(body))) got.push(event);
  seen.add(JSON.stringify(got));
}
console.log(JSON.stringify([...seen]));
"""
    (said,) = run_js(folder, stack, filled(use, stack, TEXT=text))
    (got,) = json.loads(said)
    assert json.loads(got) == [
        {"id": "7", "name": "e", "data": {"a": "\u2028 é: \n"}},
        {"id": "", "name": "", "data": {"b": 1}},
    ]


async def test_a_page_follows_a_job_and_comes_back_for_what_it_missed(
    folder: Path, stack: StackInfo, app_client: httpx.AsyncClient
) -> None:
    _, _, follow, watch = examples("A web page", "js")
    wanted = {"prompt": "A harbour", "quality": "low", "stream": True, "partial_images": 1}
    job = (await app_client.post("/api/jobs", json=wanted)).json()["id"]
    use = """
const told = [];
await follow(APP, JOB, (name, data) => told.push([name, data.url ?? data.status]), HEADERS);
const again = [];
const fetchOnce = globalThis.fetch;
let broken = false;
globalThis.fetch = async (...asked) => {
  const answer = await fetchOnce(...asked);
  if (broken) return answer;
  broken = true;
  let left = 2; // the connection of the first answer breaks after its second event
  const body = answer.body.pipeThrough(new TransformStream({
    transform(piece, controller) {
      controller.enqueue(piece);
      left -= new TextDecoder().decode(piece).split("event: ").length - 1;
      if (left <= 0) controller.error(new TypeError("terminated"));
    },
  }));
  return new Response(body, answer);
};
await follow(APP, JOB, (name, data) => again.push([name, data.url ?? data.status]), HEADERS);
const slip = await follow(APP, JOB, (name, data) => data.no.such, HEADERS).catch((error) => error.name);
const unknown = await follow(APP, "0".repeat(26), () => {}, HEADERS).catch((error) => error.message);
globalThis.fetch = fetchOnce;
const wait = globalThis.setTimeout;
globalThis.setTimeout = (work, after, ...rest) => wait(work, after === 1000 ? 0 : after, ...rest);
const nobody = await follow("http://127.0.0.1:1", JOB, () => {}, HEADERS).catch((error) => error.message);
console.log(JSON.stringify([told.map(([name]) => name), again.map(([name]) => name), slip, unknown, nobody]));
"""
    watching = """
await new Promise((resolve) => {
  const shown = [];
  watch(URL, (url) => shown.push(url), (job) => {
    console.log(JSON.stringify([job.status, ...shown]));
    resolve();
  });
});
"""
    # Signed in by a key in the address, for want of the platform's sign-in on this machine.
    url = f"{stack.app}/api/jobs/{job}/events?code={stack.key}"
    followed, watched = run_js(
        folder, stack, follow + filled(use, stack, JOB=job), watch + filled(watching, stack, URL=url)
    )
    told, again, slip, unknown, nobody = json.loads(followed)
    names = ["job.running", "image_generation.partial_image", "image_generation.completed", "job.succeeded"]
    assert told == names
    assert again == names
    assert slip == "TypeError", "what the page itself does wrong is not taken for a broken connection"
    assert unknown.endswith("were answered 404")
    assert nobody == "fetch failed"
    status, partial, completed = json.loads(watched)
    assert status == "succeeded"
    assert partial.startswith("https://")
    assert completed.startswith("https://")


async def test_a_page_watches_an_edit_as_it_does_a_new_picture(
    folder: Path, stack: StackInfo, app_client: httpx.AsyncClient
) -> None:
    *_, watch = examples("A web page", "js")
    image = base64.b64encode(photograph()).decode()
    wanted = {"prompt": "A boat", "quality": "low", "stream": True, "partial_images": 1, "image": image}
    job = (await app_client.post("/api/jobs", json=wanted)).json()["id"]
    use = """
const shown = [];
await new Promise((resolve) => watch(URL, (url) => shown.push(url), resolve));
console.log(shown.length);
"""
    url = f"{stack.app}/api/jobs/{job}/events?code={stack.key}"
    assert run_js(folder, stack, watch + filled(use, stack, URL=url)) == ["2"]


def filled(program: str, stack: StackInfo, **values: Any) -> str:
    """`program` behind its constants."""
    values = {"APP": stack.app, "HEADERS": {"x-functions-key": stack.key}, **values}
    return "\n" + "".join(f"const {name} = {json.dumps(value)};\n" for name, value in values.items()) + program


# -- the shell ---------------------------------------------------------------------------------------------------------


def test_curl_generates_edits_and_streams(folder: Path, quiet_environment: dict[str, str], model: ModelControl) -> None:
    forms, as_json = examples("curl", "sh")

    streamed = run_command(["/bin/sh", "-euc", forms], folder, quiet_environment)
    for name in ("generated", "edited"):
        assert json.loads((folder / f"{name}.json").read_text())["data"][0]["b64_json"]
    assert re.findall(r"^event: (.*)$", streamed, re.MULTILINE) == [
        "image_generation.partial_image",
        "image_generation.completed",
    ]
    (folder / "edited.json").unlink()
    run_command(["/bin/sh", "-euc", as_json], folder, quiet_environment)
    assert json.loads((folder / "edited.json").read_text())["data"][0]["b64_json"]
    assert [file["field"] for file in model.calls()[3]["files"]] == ["image"]
