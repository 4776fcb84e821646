"""`python -m local.demo`: what Darkroom does, shown in a minute on this machine.

1. Take the stack that runs in the folder, or bring one up and take it down again at the end.
2. Generate an image, edit a photograph with a mask, submit a job and poll for it: three doors, plain HTTP.
3. Fetch what was stored by its links, hold it against what was answered, and show it: blobs, provenance, cost, events.

The pictures are kept in `demo/` of the stack's folder. Exits with 0, or with 1 and a sentence that says what is wrong.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import ssl
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

from local.azurite import MissingNodeError
from local.photograph import mask, photograph
from local.processes import ChildFailedError
from local.stack import DEFAULT_DIRECTORY, Stack, StackOptions
from local.state import AlreadyRunningError, StackInfo, running

PATIENCE_SECONDS = 240.0
EVENT_SECONDS = 60.0
QUALITY = "medium"
_EXTENSIONS = {"image/png": "png", "image/jpeg": "jpg"}


class DemoError(Exception):
    """Something is not as it should be; the message says what, for people."""


class Demo:
    """The visits to the app's doors. Remembers the jobs that came of them."""

    def __init__(self, info: StackInfo, folder: Path) -> None:
        self._info, self._folder = info, folder
        folder.mkdir(parents=True, exist_ok=True)
        key = {"x-functions-key": info.key}
        trust = ssl.create_default_context(cafile=info.ca_bundle)
        self.app = httpx.Client(base_url=info.app, headers=key, timeout=PATIENCE_SECONDS, trust_env=False)
        self.anyone = httpx.Client(verify=trust, timeout=PATIENCE_SECONDS, trust_env=False)
        self._answered: dict[str, list[str]] = {}
        self.jobs: dict[str, dict[str, Any]] = {}

    def close(self) -> None:
        """Let the connections go."""
        self.app.close()
        self.anyone.close()

    def generate(self) -> None:
        """A prompt becomes a picture, in one answer."""
        prompt = 'A lighthouse by the sea at dawn with the words "Darkroom"'
        _heading(1, "Generate an image", "POST /openai/v1/images/generations", prompt)
        body = {"prompt": prompt, "size": "1536x1024", "quality": QUALITY, "metadata": {"demo": "generate"}}
        self._show(self._answer("/openai/v1/images/generations", json=body), "generated")

    def edit(self) -> None:
        """A photograph gets something new where its mask is transparent."""
        prompt = "A red balloon in the sky"
        path = "/openai/deployments/{deployment}/images/edits"
        _heading(2, "Edit a photograph, inside a mask", f"POST {path}", prompt)
        source = self._keep("photograph.jpg", _encoded(photograph(), "JPEG"))
        hole = self._keep("mask.png", _encoded(mask(), "PNG"))
        print(f"   from  {_shown(source)}, where {_shown(hole)} is transparent")
        with source.open("rb") as image, hole.open("rb") as shape:
            answer = self._answer(
                path.format(deployment=self._deployment()),
                data={"prompt": prompt, "size": "1536x1024", "quality": QUALITY, "metadata": '{"demo": "edit"}'},
                files={"image": ("photograph.jpg", image), "mask": ("mask.png", shape)},
            )
        self._show(answer, "edited")

    def submit(self) -> None:
        """The same through the queue: submitted, then polled for, as Logic Apps and Power Automate do."""
        prompt = "A fox under the stars, the words “Тихая ночь”"
        _heading(3, "Submit a job, and poll for it", "POST /api/jobs", prompt)
        body = {"prompt": prompt, "n": 2, "quality": QUALITY, "output_format": "jpeg", "metadata": {"demo": "job"}}
        started = time.monotonic()
        answer = _checked(self.app.post("/api/jobs", json=body), 202)
        print(f"   202   job {answer.json()['id']}, Retry-After {answer.headers['retry-after']} s")
        document = self._polled(answer.headers["location"], started)
        if document["status"] != "succeeded":
            raise DemoError(f"The job ended as {document['status']}: {(document['error'] or {}).get('message')}")
        self.jobs[document["id"]] = document
        self._answered[document["id"]] = []
        for image in document["images"]:
            content = self._linked(image)
            path = self._keep(f"job-{image['index']}.{_EXTENSIONS[image['content_type']]}", content)
            print(f"   saved {_shown(path)}")

    def stored(self) -> None:
        """What is in Blob Storage now, fetched by its links and held against what the app answered."""
        print("\nWhat was stored (container results)\n")
        for job_id, document in self.jobs.items():
            self.jobs[job_id] = document = self._ended(job_id)
            cost = document["cost"]
            price = f"{cost['amount']} {cost['currency']}" if cost["amount"] else "unknown"
            print(f"   job {job_id}  {document['kind']}, cost {price}, {document['usage']['total_tokens']} tokens")
            answered = self._answered[job_id]
            for image in document["images"]:
                digest = hashlib.sha256(self._linked(image)).hexdigest()
                if digest != image["sha256"] or (answered and digest != answered[image["index"]]):
                    raise DemoError(f"The bytes of blob {image['blob']} are not those of the answer.")
                provenance = self._provenance(job_id, image["index"])
                print(f"     {image['blob']}")
                print(f"       {image['width']}x{image['height']}, {image['bytes']:,} bytes, sha256 {digest[:16]}…")
                print(f"       provenance: {provenance}")
        print("\n   Every blob was read by its link and has exactly the bytes that the app told of.")

    def events(self) -> None:
        """What subscribers of the Event Grid topic are told."""
        print("\nWhat was announced (Event Grid topic)\n")
        for job_id in self.jobs:
            event = self._event(job_id)
            print(f"   {event['type']}  {event['subject']}  {event['time']}")

    def _answer(self, path: str, **content: Any) -> httpx.Response:
        started = time.monotonic()
        answer = _checked(self.app.post(path, **content), 200)
        print(f"   200   after {time.monotonic() - started:.1f} s")
        return answer

    def _show(self, answer: httpx.Response, name: str) -> None:
        job_id = answer.headers["x-darkroom-job"]
        self.jobs[job_id] = {}
        images = [base64.b64decode(item["b64_json"]) for item in answer.json()["data"]]
        self._answered[job_id] = [hashlib.sha256(image).hexdigest() for image in images]
        for image in images:
            print(f"   saved {_shown(self._keep(f'{name}.png', image))}")

    def _polled(self, location: str, started: float) -> dict[str, Any]:
        """The job's document at its end; each state it was seen in is printed once."""
        seen = ""
        while True:
            answer = self.anyone.get(location)
            document: dict[str, Any] = answer.json()
            state = " ".join(filter(None, (document.get("status"), document.get("phase"))))
            if state != seen:
                print(f"   {answer.status_code}   {state} after {time.monotonic() - started:.1f} s")
                seen = state
            if answer.status_code != 202:
                _checked(answer, 200)
                return document
            if time.monotonic() - started > PATIENCE_SECONDS:
                raise DemoError(f"The job has not ended after {PATIENCE_SECONDS:.0f} s; it is {state}.")
            # Retry-After is for a model that takes a minute; whoever looks on wants to see it sooner.
            time.sleep(0.2)

    def _ended(self, job_id: str) -> dict[str, Any]:
        """The job's document at its end, before which its answer may have come: that passes on while it is stored."""
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            document: dict[str, Any] = _checked(self.app.get(f"/api/jobs/{job_id}"), 200).json()
            if document["finished_at"]:
                return document
            if time.monotonic() > end:
                raise DemoError(f"Job {job_id} has not ended after {PATIENCE_SECONDS:.0f} s.")
            time.sleep(0.2)

    def _linked(self, image: dict[str, Any]) -> bytes:
        return _checked(self.anyone.get(image["url"]), 200).content

    def _provenance(self, job_id: str, index: int) -> str:
        found = _checked(self.app.get(f"/api/images/{job_id}/{index}/provenance"), 200).json()["provenance"]
        if found["state"] == "none":
            return "none: the image has no C2PA manifest"
        return f"{found['state']}, signed by {found['issuer']}, made with {found['software_agent']}"

    def _event(self, job_id: str) -> dict[str, Any]:
        end = time.monotonic() + EVENT_SECONDS
        while True:
            address = f"{self._info.topic}/_local/events"
            taken = _checked(self.anyone.get(address, params={"subject": f"jobs/{job_id}"}), 200).json()["events"]
            if taken:
                event: dict[str, Any] = taken[0]
                return event
            if time.monotonic() > end:
                raise DemoError(f"The topic has no event of job {job_id} after {EVENT_SECONDS:.0f} s.")
            time.sleep(0.2)

    def _deployment(self) -> str:
        deployments = _checked(self.app.get("/api/health/details"), 200).json()["deployments"]
        if not deployments:
            raise DemoError("The app has no deployment to call: see /api/health/details.")
        return str(deployments[0]["name"])

    def _keep(self, name: str, content: bytes) -> Path:
        path = self._folder / name
        path.write_bytes(content)
        return path


def main(arguments: list[str] | None = None) -> int:
    """Show everything; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m local.demo", description="What Darkroom does, shown in a minute.")
    parser.add_argument("--dir", default=str(DEFAULT_DIRECTORY), help="folder of the stack; pictures go to its demo/")
    directory = Path(parser.parse_args(arguments).dir).resolve()
    try:
        with ExitStack() as resources:
            info = running(directory)
            if info is None:
                print("No stack is running here: one is brought up for the demo.")
                info = resources.enter_context(Stack(StackOptions(directory=directory), say=print))
            print(f"\nDarkroom is at {info.app}.")
            if info.c2pa_ca is None:  # the stack has no model server of its own
                print("The model is a real deployment: the four images of this demo cost money.")
            show(Demo(info, directory / "demo"), resources)
            print(f"\nThe pictures are in {_shown(directory / 'demo')}. What next: README.md, docs/api.md, make run.")
        return 0
    except AlreadyRunningError:
        print("A stack is on its way up or down in this folder; try again in a moment.", file=sys.stderr)
    except (DemoError, ChildFailedError, MissingNodeError, RuntimeError) as error:
        print(f"\n{error}", file=sys.stderr)
    except httpx.HTTPError as error:
        print(f"\nA part of the stack does not answer ({type(error).__name__}: {error}).", file=sys.stderr)
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
    return 1


def show(demo: Demo, resources: ExitStack) -> None:
    """The whole of it, in order."""
    resources.callback(demo.close)
    demo.generate()
    demo.edit()
    demo.submit()
    demo.stored()
    demo.events()


def _checked(answer: httpx.Response, expected: int) -> httpx.Response:
    """`answer` when its status is the expected one. Raises DemoError with what the app said of it."""
    if answer.status_code == expected:
        return answer
    request = f"{answer.request.method} {answer.request.url.path}"
    try:
        error = answer.json()["error"]
        said = f"{error['message']} ({error['code']})"
    except (ValueError, KeyError, TypeError):
        said = answer.reason_phrase
    raise DemoError(f"{request} answered {answer.status_code}: {said}")


def _heading(number: int, what: str, request: str, prompt: str) -> None:
    print(f"\n{number}. {what}\n\n   {request}\n   “{prompt}”")


def _encoded(image: Image.Image, image_format: str) -> bytes:
    content = io.BytesIO()
    image.save(content, image_format, quality=90)
    return content.getvalue()


def _shown(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


if __name__ == "__main__":
    sys.exit(main())
