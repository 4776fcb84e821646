"""The uploads door: a folder of files becomes one job, whatever the order and however often its files are announced.

1. `announced`: a blob event only puts the blob's folder into the queue.
2. `look`: when all that the folder's order names is there, the files are copied, the job is made and queued; the model
   is called by whoever gets that message. A folder that waits for files is left alone.
3. What is wrong is written beside the files (`error.json`) and told as the event of a failed job, once for each wrong
   set of files.

Nothing is paid twice. The job is claimed by the folder's name, the request and the contents of its files, so that the
same files uploaded again find their job. And `job.json` names the order that has a job: until that order is rewritten
the folder is not looked at again, whatever happens to its other files.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from shared.errors import DarkroomError
from shared.jobs.files import AcceptedRequest
from shared.jobs.intake import Intake
from shared.jobs.job import Door, is_id
from shared.jobs.upload_folder import ERROR_NOTE, JOB_NOTE, NOTES, FolderChanged, UploadedFile, UploadFolder
from shared.pipeline import accept, joining
from shared.pipeline import upload_refusals as refusals
from shared.pipeline.repeats import Asked
from shared.pipeline.rooms import Rooms, rooms
from shared.pipeline.upload_order import Order, check_sizes, order_file, read_order
from shared.pipeline.verdicts import NOT_THE_JOBS_FAULT
from shared.platform.principals import Caller
from shared.settings import settings

log = logging.getLogger("darkroom")

_FIRST_DELAY, _LONGEST_DELAY = 5.0, 3600.0
"""Seconds until a folder is looked at again that changed under the reader or could not be read; doubled each time."""
_TRIES_BY_THE_PLATFORM = 5
_LAST_TRY = 30
"""Something over a day of delays."""
_AFTER_LOST_EVENT = 300.0
_MAX_FOLDER_CHARS = 900
"""A blob's name has 1,024 at most, our notes' among them."""
CLAIM_LASTS = timedelta(seconds=30)
"""How long whoever wrote `job.json` may take to write the job; later it is taken for dead."""
_NOT_THE_FOLDERS_FAULT = (*NOT_THE_JOBS_FAULT, "misconfigured")
_CLAIMED, _ACCEPTED = "claimed", "accepted"


async def announced(blob: str, *, delay: float = 0.0) -> None:
    """Have the folder of `blob` (its name in the container) looked at. Our own notes and blobs in no folder are not."""
    folder, _, file = blob.rpartition("/")
    if folder and file and file not in NOTES:
        await (await rooms()).upload_queue.announce(folder, delay=delay)


async def event_lost(blob: str) -> None:
    """Look at the folder of `blob` after all, though the platform gave up the event of it."""
    await announced(blob, delay=_AFTER_LOST_EVENT)


async def look(folder_name: str, tries: int = 0) -> None:
    """Make the job of a folder whose files are all there. Raises `storage_unavailable` and `misconfigured`, and nothing
    for what is in the folder."""
    room = await rooms()
    if not _is_plain(folder_name):
        wrong = (
            f"The folder's name is longer than {_MAX_FOLDER_CHARS} characters, or has an empty, '.' or '..' segment, a "
            "backslash or a control character; rename it."
        )
        await refusals.tell(room, folder_name, DarkroomError("invalid_value", wrong), ())
        return
    try:
        await _look(room, room.upload(folder_name), tries)
    except FolderChanged:
        await later(folder_name, tries)


async def later(folder_name: str, tries: int, *, at_least: int = 0) -> None:
    """Look at the folder again, each time later, for a day; then say where its dropper looks that it was not possible.

    `at_least` is how often it was tried already, by the platform's count."""
    room = await rooms()
    tries = max(tries, at_least)
    if tries <= _LAST_TRY:
        delay = min(_FIRST_DELAY * 2**tries, _LONGEST_DELAY)
        await room.upload_queue.announce(folder_name, delay=delay, tries=tries + 1)
        return
    error = DarkroomError("undeliverable", "The upload could not be looked at for a day; upload its request again.")
    await refusals.tell(room, folder_name, error, ())
    try:
        await refusals.refuse(room, room.upload(folder_name), error, {}, ())
    except (DarkroomError, FolderChanged) as failure:
        # The event was the half that counts. Raised, this would be tried every few seconds for ever.
        log.warning("no note could be left in an upload folder: %s", type(failure).__name__)


async def poisoned(folder_name: str, tries: int) -> None:
    """Try a folder again that the platform gave up: storage may have been out, and is back some day."""
    await later(folder_name, tries, at_least=_TRIES_BY_THE_PLATFORM)


async def _look(room: Rooms, folder: UploadFolder, tries: int) -> None:
    files: Mapping[str, UploadedFile] = {}
    involved: Sequence[UploadedFile] = ()
    try:
        files = await folder.files()
        file = order_file(files)
        if file is None or await _has_job(room, folder, file, files, tries):
            return
        involved = (file,)
        order = await read_order(folder, file, files)
        if not order.is_whole(files):
            return
        involved = (file, *order.named(files))
        check_sizes(order.named(files))
        await _accept(room, folder, order, files)
    except DarkroomError as error:
        if error.code in _NOT_THE_FOLDERS_FAULT:
            raise
        await refusals.refuse(room, folder, error, files, involved)


async def _has_job(
    room: Rooms, folder: UploadFolder, file: UploadedFile, files: Mapping[str, UploadedFile], tries: int
) -> bool:
    """Whether the order in `file` has its job, or is about to get it from somebody else."""
    note = files.get(JOB_NOTE)
    if note is None or note.metadata.get("order") != file.etag:
        return False
    if note.metadata.get("state") == _ACCEPTED:
        return True
    job_id = note.metadata.get("job", "")
    if is_id(job_id) and await room.store.get(job_id) is not None:
        await _settle(folder, file, job_id, files, instead_of=note.etag)
        return True
    if datetime.now(UTC) - note.modified < CLAIM_LASTS:
        await room.upload_queue.announce(folder.name, delay=CLAIM_LASTS.total_seconds(), tries=tries)
        return True
    return False


async def _accept(room: Rooms, folder: UploadFolder, order: Order, files: Mapping[str, UploadedFile]) -> None:
    caller = Caller(await room.upload_owners.owner_of(folder.name), sees_all=False)
    intake = await accept.intake()
    try:
        accepted = await _understood(intake, folder, order, files, caller)
    except BaseException:
        await intake.discard()
        raise
    place = await joining.place(
        room, intake, accepted, caller, Asked(key=f"upload\n{folder.name}\n{accepted.content_hash()}")
    )
    note = files.get(JOB_NOTE)
    before = note.etag if note else None
    job_id = place.job.id if place.job else place.intake.files.job_id
    if place.job is None:
        # Before the job: a folder whose job was made by a process that died here is not taken for a new one.
        before = await _note_job(folder, order.file, job_id, _CLAIMED, instead_of=before)
        await accept.enter(place.intake, accepted, caller, Door.UPLOAD, idempotency=place.row)
        await accept.send(room, job_id)
    await _settle(folder, order.file, job_id, files, instead_of=before)


async def _understood(
    intake: Intake, folder: UploadFolder, order: Order, files: Mapping[str, UploadedFile], caller: Caller
) -> AcceptedRequest:
    images = [await intake.take("image", folder.stream(files[name])) for name in order.images or ()]
    mask = await intake.take("mask", folder.stream(files[order.mask])) if order.mask else None
    return await accept.understand(intake, caller, order.data, kind=None, images=images, mask=mask)


async def _settle(
    folder: UploadFolder,
    order: UploadedFile,
    job_id: str,
    files: Mapping[str, UploadedFile],
    *,
    instead_of: str | None,
) -> None:
    """The order has its job: what was wrong before is right, and the folder is done until the order is rewritten."""
    if wrong := files.get(ERROR_NOTE):
        await folder.remove(wrong)
    await _note_job(folder, order, job_id, _ACCEPTED, instead_of=instead_of)


async def _note_job(
    folder: UploadFolder, order: UploadedFile, job_id: str, state: str, *, instead_of: str | None
) -> str:
    # Read by others: it names no job before there is one.
    there = state == _ACCEPTED
    link = f"{settings().public_base_url}/api/jobs/{job_id}"
    body = {"id": job_id if there else None, "links": {"self": link if there else None}}
    facts = {"order": order.etag, "job": job_id, "state": state}
    return await folder.leave(JOB_NOTE, body, facts, instead_of=instead_of)


def _is_plain(folder: str) -> bool:
    """Whether a name reaches no other folder on its way through clients that tidy paths."""
    return (
        len(folder) <= _MAX_FOLDER_CHARS
        and all(part not in ("", ".", "..") for part in folder.split("/"))
        and not re.search(r"[\\\x00-\x1f\x7f-\x9f\ud800-\udfff]", folder)
    )
