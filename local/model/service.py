"""One image call from request to answer. The routes of `app.py` come in here.

1. The call is written down. Version, headers, credential, deployment and rate limit are judged in the order of the real
   gateway; a refused call counts against the limit like any other.
2. The body is read and checked (on v1 it names the deployment, so there the limit comes after it).
3. A fault that waits for such a call is taken.
4. The pictures are made while the latency passes, and the answer is written. A client that leaves does not stop the
   work: the real service goes on too, and charges.
"""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope, Send

from local.model import auth
from local.model.answer import JsonAnswer, compact
from local.model.behaviour import Fault, Knobs
from local.model.body import Body, read_form, read_json
from local.model.calls import KEPT_HEADERS, Call
from local.model.deployments import Model
from local.model.errors import NAMED, ErrorContext, ServiceError, marked_refusal, missing_parameter
from local.model.gateway import admit, check_gateway, check_rate, error_context
from local.model.headers import common_headers, model_headers, with_changes
from local.model.limiter import Admission
from local.model.parameters import ImageCall, check_body_model, read_image_call
from local.model.server import Server
from local.model.stream import EventStream
from local.model.studio import MadeImage
from local.model.usage import usage_of
from local.model.wire import WireResponse, cut_connection, whole


class ImageOperation:
    """ASGI application for one operation (`generations`, `edits`) on one surface (`dated`, `v1`)."""

    def __init__(self, server: Server, operation: str, surface: str) -> None:
        self._server = server
        self._operation = operation
        self._surface = surface

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        caller = auth.read_credential(request.headers)
        call = self._server.calls.open(
            method=scope["method"],
            path=scope["path"],
            surface=self._surface,
            operation=self._operation,
            deployment=scope.get("path_params", {}).get("deployment"),
            api_version=request.query_params.get("api-version"),
            request_id=str(uuid.uuid4()),
            headers={name: request.headers[name] for name in KEPT_HEADERS if name in request.headers},
            auth=caller.kind if caller else None,
            audience=caller.audience if caller else None,
            token_claims=caller.claims if caller else {},
        )
        await Exchange(self._server, call, caller, request, send).run()


class Exchange:
    """One call under way, and its answer."""

    def __init__(self, server: Server, call: Call, caller: auth.Caller | None, request: Request, send: Send) -> None:
        self._server, self._call, self._caller, self._request, self._send = server, call, caller, request, send
        self._knobs: Knobs = server.behaviour.knobs
        self._fault = Fault()
        self._body = Body()
        self._admission: Admission | None = None
        self._departure: asyncio.Task[None] | None = None

    async def run(self) -> None:
        try:
            await self._answer()
        except ServiceError as error:
            await self._refuse(error)
        except ClientDisconnect:
            self._call.outcome = "left"
        except ConnectionResetError:
            self._call.outcome = "cut"
            raise
        finally:
            self._body.close()
            if self._departure is not None:
                self._departure.cancel()
            if self._call.outcome == "running":
                self._call.outcome = "failed"
            self._call.client_left = self._call.outcome == "left"
            self._server.calls.finish(self._call)

    async def _answer(self) -> None:
        check_gateway(self._call, self._request.headers, self._caller, self._server.keys, self._context())
        if self._call.surface == "dated":
            self._admit()
        read = read_form if self._call.operation == "edits" else read_json
        self._body = await read(self._request)
        self._departure = asyncio.create_task(self._wait_for_departure())
        self._call.parameters = self._body.values
        self._call.files = [part.described() for part in self._body.files]
        model = self._model()
        image_call = await asyncio.to_thread(
            read_image_call, self._call.operation, self._body, model, self._knobs, surface=self._call.surface
        )
        self._take_fault()
        await self._go_wrong_first(image_call.prompt)
        headers = model_headers(self._call.deployment or "", model.name, streaming=image_call.stream)
        await (self._stream if image_call.stream else self._send_document)(image_call, headers)

    def _context(self, retry_after_seconds: float | None = None) -> ErrorContext:
        return error_context(self._call, self._knobs, retry_after_seconds)

    def _admit(self) -> None:
        self._admission = admit(self._server, self._call, self._knobs)
        check_rate(self._admission, self._call, self._knobs)

    def _model(self) -> Model:
        """The deployment's model; on v1 this is where the deployment becomes known."""
        if self._call.surface == "v1":
            name = self._body.values.get("model")
            if name is None:
                raise missing_parameter("model")
            self._call.deployment = str(name)
            self._admit()
            return self._server.deployments[str(name)]
        model = self._server.deployments[self._call.deployment or ""]
        refusal = check_body_model(self._body, model)
        if refusal is not None:
            raise refusal
        return model

    # What goes wrong on demand

    def _take_fault(self) -> None:
        call = self._call
        fault = self._server.behaviour.take_fault(
            operation=call.operation, surface=call.surface, deployment=call.deployment or ""
        )
        if fault is not None:
            self._fault = fault
            unset = Fault()
            call.fault = ", ".join(name for name in vars(fault) if getattr(fault, name) != getattr(unset, name))

    async def _go_wrong_first(self, prompt: str) -> None:
        """Silence before the answer, then errors by name, by status, or by a marker in the prompt."""
        fault = self._fault
        if fault.hang_seconds and fault.hang_after_bytes is None and self._departure is not None:
            await asyncio.wait([self._departure], timeout=fault.hang_seconds)
        if fault.name is not None:
            raise NAMED[fault.name](self._context(fault.retry_after_seconds))
        if fault.status is not None:
            default = {"error": {"code": str(fault.status), "message": HTTPStatus(fault.status).phrase}}
            raise ServiceError(fault.status, default if fault.body is None else fault.body)
        marked = marked_refusal(prompt, self._context())
        if marked is not None:
            raise marked

    async def _cut_first(self) -> bool:
        """Whether the connection was closed instead of an answer."""
        if self._fault.cut_before_response:
            self._call.outcome = "cut"
            await cut_connection(self._request.scope, self._request.receive, reset=self._fault.reset)
        return self._fault.cut_before_response

    # Answers

    async def _stream(self, call: ImageCall, headers: list[tuple[str, str]]) -> None:
        await self._pass_latency()
        if await self._cut_first():
            return
        error = None
        if self._fault.stream_error is not None:
            error = NAMED[self._fault.stream_error](self._context(self._fault.retry_after_seconds))
            self._call.code, self._call.outcome = error.code, "refused"
        events = EventStream(call, self._knobs, self._fault, self._server.studio, error=error, made=self._note)
        headers.append(("content-type", "text/event-stream; charset=utf-8"))
        await self._respond(200, headers, events.pieces(), streaming=True)

    async def _send_document(self, call: ImageCall, headers: list[tuple[str, str]]) -> None:
        images: list[MadeImage] = []
        try:
            await asyncio.gather(self._pass_latency(), self._make_all(call, images))
            if await self._cut_first():
                return
            answer = JsonAnswer(
                call,
                images,
                created=int(time.time()),
                usage=self._call.usage or {},
                annotations=self._knobs.annotations,
                fault=self._fault,
            )
            plain = self._knobs.text_plain or self._fault.text_plain
            headers.append(("content-type", "text/plain" if plain else "application/json"))
            length = answer.length if self._knobs.transfer == "content-length" else None
            await self._respond(200, headers, answer.pieces(), length=length)
        finally:
            for image in images:
                image.close()

    async def _make_all(self, call: ImageCall, images: list[MadeImage]) -> None:
        usage = usage_of(call, self._knobs, images=call.n)
        for index in range(call.n):
            image = await self._server.studio.make(call, index, self._knobs, self._fault)
            images.append(image)
            self._note(index, image, usage)

    def _note(self, index: int, image: MadeImage, usage: dict[str, Any]) -> None:
        self._call.billed = True
        self._call.usage = usage
        self._call.images.append({"index": index, "sha256": image.sha256, "bytes": image.size})

    async def _refuse(self, error: ServiceError) -> None:
        self._call.code = error.code
        self._call.outcome = "refused"
        is_text = isinstance(error.body, str)
        text = error.body.encode() if is_text else compact(error.body)
        content_type = "text/plain; charset=utf-8" if is_text else "application/json"
        headers = [*error.headers.items(), ("content-type", content_type)]
        await self._respond(error.status, headers, whole(text), length=len(text))

    async def _respond(
        self,
        status: int,
        headers: list[tuple[str, str]],
        body: AsyncIterator[bytes],
        *,
        length: int | None = None,
        streaming: bool = False,
    ) -> None:
        knobs, fault = self._knobs, self._fault
        common = common_headers(self._call, knobs.region, self._admission, knobs.rpm)
        response = WireResponse(
            status,
            with_changes([*common, *headers], fault.headers, fault.duplicate_headers),
            body,
            length=length,
            chunk_size=knobs.chunk_size,
            bytes_per_second=knobs.bytes_per_second,
            gzip=knobs.gzip and "gzip" in self._request.headers.get("accept-encoding", ""),
            flush_each_piece=streaming,
            cut_after_bytes=fault.cut_after_bytes,
            reset=fault.reset,
            hang_seconds=fault.hang_seconds or 0.0,
            hang_after_bytes=fault.hang_after_bytes,
            departed=self._departure.done if self._departure else lambda: False,
        )
        self._call.status = status
        try:
            await response(self._request.scope, self._request.receive, self._send)
        finally:
            self._call.bytes_sent = response.sent
        if response.ending != "complete":
            self._call.outcome = response.ending
        elif self._call.outcome == "running":
            self._call.outcome = "ok"

    # Time

    async def _wait_for_departure(self) -> None:
        while (await self._request.receive())["type"] != "http.disconnect":
            continue

    async def _pass_latency(self) -> None:
        jitter = random.uniform(-1, 1) * self._knobs.latency_jitter
        await asyncio.sleep(max(0.0, self._knobs.latency_seconds + jitter))
