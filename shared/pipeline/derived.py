"""Derived images: those a caller asked for and the model cannot give, made of the model's and stored beside them.

1. `check` and `prepare` refuse, before anything is paid, what could not be made; `accept` comes in here.
2. `complete` makes them when the answer is stored and accounted: for each image one, signed with the model's as its
   parent where the app has a signing identity. Whoever takes over a job whose runner died meanwhile does so again.
3. What cannot be made fails the job, since it was asked for; the model's images are kept and never asked for again.

In one process one image is made at a time, in a thread of its own: each takes up to 200 MB (`images.composite`).
"""

from __future__ import annotations

import asyncio
import functools
import io
import logging
import secrets
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, BinaryIO, Final, cast

from shared.delivery import signing
from shared.delivery.claim import Signed
from shared.delivery.incoming import IncomingImage, StoredImage
from shared.delivery.provenance import Provenance
from shared.delivery.signing import COMPOSITE_WITH_AI
from shared.errors import DarkroomError
from shared.images import composite, fitting
from shared.images.capabilities import capabilities, size_of
from shared.images.composite import UnfitImageError
from shared.images.request import ImageRequest
from shared.jobs.files import AcceptedRequest, JobFiles, StoredSource
from shared.jobs.intake import Intake
from shared.jobs.job import Job
from shared.jobs.lease import Lease
from shared.pipeline import results
from shared.pipeline.rooms import Rooms
from shared.platform import clients, telemetry, tracing
from shared.settings import settings

log = logging.getLogger("darkroom")

_IN_MEMORY_BYTES: Final = 2**20
_PIECE_BYTES: Final = 2**20
_PAUSES: Final = (1.0, 2.0, 4.0, 8.0)
_PASSING: Final = frozenset({"storage_unavailable", "signing_unavailable"})


def check(request: ImageRequest) -> None:
    """Refuse a request for a derived image that could not be signed, where that is asked for. Raises
    `unsupported_parameter`."""
    if not request.derives or not settings().require_provenance or signing.configured():
        return
    field, fix = ("preserve", "leave it out") if request.preserve else ("size", "ask for a size that the model has")
    raise DarkroomError(
        "unsupported_parameter",
        f"'{field}' asks for an image that is made of the model's, and REQUIRE_PROVENANCE allows none here, since this "
        f"app has no identity to sign it with; {fix}.",
        param=field,
    )


async def prepare(intake: Intake, request: ImageRequest, model: str) -> ImageRequest:
    """A request for derived images as it is to be run; one that preserves learns which size to ask the model for. Its
    sources are in `intake`.

    Raises `invalid_value`, `invalid_image` or `image_too_large` when its first source could not be preserved, and what
    `signing.check` does.
    """
    if signing.configured():
        await signing.check()
    if request.preserve is None:
        return request
    first = intake.images[0]
    settled = fitting.settle(request, capabilities(model), first.width, first.height)
    async with _turn():
        await _in_thread(composite.check_source, intake.first_file, request.images[0].param)
    return settled


async def complete(
    room: Rooms, lease: Lease, job: Job, accepted: AcceptedRequest, result: Mapping[str, Any]
) -> dict[str, Any]:
    """`result` (`result.json`) with the derived images that were asked for, or as it is when there are none to make.

    With `error` where one could not be made: that is how the job ends. What is given is stored. Raises `lease_lost`,
    `storage_unavailable`.
    """
    if not accepted.request.derives or lease.cancel_requested or "derived" in result or result.get("error"):
        return dict(result)
    images = [dict(image) for image in result["images"]]
    made: list[dict[str, Any]] = []
    error: DarkroomError | None = None
    try:
        async with _sources(lease, room.files(job.id), accepted) as sources:
            for image in images:
                derive = functools.partial(_derive, room, job, accepted, sources, image, result)
                one = await lease.patiently(derive, _PAUSES, _PASSING)
                image["derived"] = [_entry(one, _how(accepted.request))]
                made.append({"blob": one.blob, "provenance": one.provenance.to_dict()})
    except Exception as caught:  # noqa: BLE001 - whatever it is, the images are paid for: the job must end and say so
        error = _failed(caught, image=len(made))
        log.warning("job %s: a derived image was not made: %s", job.id, error.inner)
        if not isinstance(caught, DarkroomError | UnfitImageError):
            telemetry.log_unexpected("a derived image", caught)
    if not lease.safe():
        raise DarkroomError("lease_lost", "The lease of this job was lost while images were derived.")
    whole = {**result, "images": images, "derived": made, "error": error.to_row() if error else None}
    await lease.patiently(lambda: room.files(job.id).put_result(whole), _PAUSES)
    return whole


def failure(result: Mapping[str, Any]) -> DarkroomError | None:
    """Why a job whose answer is stored as `result` fails all the same."""
    error = result.get("error")
    return DarkroomError.from_row(error) if error else None


# -- one image ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Sources:
    """What is composed with: the first source and the mask as files on disk, and what the source is."""

    first: BinaryIO | None = None
    mask: BinaryIO | None = None
    stored: StoredSource | None = None


@tracing.traced("derive")
async def _derive(
    room: Rooms,
    job: Job,
    accepted: AcceptedRequest,
    sources: _Sources,
    image: Mapping[str, Any],
    result: Mapping[str, Any],
) -> StoredImage:
    """Make, sign and store what is derived of the stored `image`, under a name of its own: another runner's bytes may
    differ."""
    request = accepted.request
    check(request)  # the identity may have gone since the request was accepted
    width, height = size_of(request.fitted_size or "") or (0, 0)
    async with _turn():
        original = await room.blobs.read_whole(image["blob"])
        made = await _in_thread(_compose, request, original, sources, width, height)
        content_type = "image/png" if request.preserve else image["content_type"]
        known: Provenance | None = None
        if signing.configured():
            signed = await _signed(made, content_type, original, image["content_type"], request, sources)
            made, known = signed.image, signed.provenance
            del signed
        del original
        target = results.target(accepted, result["model"], job.id, job.created_at, job.attempt)
        metadata = {**target.metadata, "size": f"{width}x{height}", "derived": _how(request)}
        name = f"{target.stem(image['index'])}.{_how(request)}-{width}x{height}-{secrets.token_hex(4)}"
        return await _store(IncomingImage(room.blobs, image["index"], name, metadata), made, known)


def _compose(request: ImageRequest, original: bytes, sources: _Sources, width: int, height: int) -> bytes:
    image = io.BytesIO(original)
    if request.preserve and sources.first and sources.mask:
        return composite.preserve(image, sources.first, sources.mask)
    return composite.fit(image, width, height, _how(request), quality=request.output_compression)


async def _signed(
    made: bytes, content_type: str, original: bytes, original_type: str, request: ImageRequest, sources: _Sources
) -> Signed:
    components: list[tuple[bytes, str]] = []
    if sources.first and sources.stored:
        sources.first.seek(0)
        components.append((sources.first.read(), sources.stored.content_type))
    return await signing.sign(
        made,
        content_type,
        parent=original,
        parent_content_type=original_type,
        title=f"{_how(request)} {request.fitted_size}",
        actions=_ACTIONS[_how(request)],
        components=components,
    )


_ACTIONS: Final[Mapping[str, Sequence[Mapping[str, str]]]] = {
    "contain": ({"action": "c2pa.resized"},),
    "cover": ({"action": "c2pa.cropped"}, {"action": "c2pa.resized"}),
    "preserve": ({"action": "c2pa.edited", "digitalSourceType": COMPOSITE_WITH_AI},),
}
"""What was done, in the words of C2PA (https://spec.c2pa.org/specifications/specifications/2.1/specs/C2PA_Specification.html#_actions)."""


async def _store(image: IncomingImage, data: bytes, known: Provenance | None) -> StoredImage:
    try:
        for start in range(0, len(data), _PIECE_BYTES):
            await image.add(data[start : start + _PIECE_BYTES])
        await image.end()
        return await image.store(known)
    finally:
        image.close()


@asynccontextmanager
async def _sources(lease: Lease, files: JobFiles, accepted: AcceptedRequest) -> AsyncIterator[_Sources]:
    """The first source and the mask, read once for all images of the job, where they are composed with."""
    if not accepted.request.preserve or accepted.mask is None:
        yield _Sources()
        return
    with _file() as first, _file() as mask:
        for source, file in ((accepted.images[0], first), (accepted.mask, mask)):
            await lease.patiently(functools.partial(_fill, file, files, source.name), _PAUSES)
        yield _Sources(first, mask, accepted.images[0])


async def _fill(file: BinaryIO, files: JobFiles, name: str) -> None:
    file.seek(0)
    file.truncate()
    async for chunk in files.read_source(name):
        file.write(chunk)


def _file() -> BinaryIO:
    return cast("BinaryIO", tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES))


# -- what is told of it ------------------------------------------------------------------------------------------------


def _how(request: ImageRequest) -> str:
    return "preserve" if request.preserve else str(request.fit)


def _entry(image: StoredImage, how: str) -> dict[str, Any]:
    """An entry of `derived` in the job document, but for its URL."""
    members = asdict(image)
    kept = {name: members[name] for name in ("blob", "content_type", "width", "height", "bytes", "sha256")}
    return {**kept, "how": how, "provenance": image.provenance.summary()}


def _failed(error: Exception, *, image: int) -> DarkroomError:
    known = isinstance(error, DarkroomError | UnfitImageError)
    return DarkroomError(
        "derivation_failed",
        "The model's images were made, paid for and kept (see the job's 'images'), but what was to be made of image "
        f"{image} was not: {str(error) if known else f'it failed ({type(error).__name__})'}",
        inner=error.code if isinstance(error, DarkroomError) else "internal_error",
    )


# -- one at a time -----------------------------------------------------------------------------------------------------


def _turn() -> asyncio.Semaphore:
    """One image at a time; it belongs to the event loop, as the clients do."""
    return clients.keep("derived images", lambda: asyncio.Semaphore(1))


async def _in_thread[*A, R](work: Callable[[*A], R], *arguments: *A) -> R:
    return await asyncio.get_running_loop().run_in_executor(_thread(), work, *arguments)


@cache
def _thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="derived images")
