"""What is wrong with a folder of `uploads`, told twice: as the event of a failed job, and beside the files.

Each wrong set of files is told once, however often it is announced: the failed job is claimed by what is wrong and with
which files, and the note in the folder says which set it is about.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from shared.errors import DarkroomError
from shared.images.fields import shown
from shared.images.upload_metadata import asks
from shared.jobs.idempotency import row_of_key
from shared.jobs.job import Door, new_id
from shared.jobs.upload_folder import ERROR_NOTE, UploadedFile, UploadFolder
from shared.pipeline import ending
from shared.pipeline.rooms import Rooms

_WHAT_TO_DO = "Upload what is wrong once more, corrected, under the same name. This note goes when all files are right."


async def refuse(
    room: Rooms,
    folder: UploadFolder,
    error: DarkroomError,
    files: Mapping[str, UploadedFile],
    involved: Sequence[UploadedFile],
) -> None:
    """Tell what is wrong with the files `involved`. `files` are all of the folder, empty where they are not known."""
    note = files.get(ERROR_NOTE)
    wrong_set = _wrong_set(folder.name, error, involved)
    if note is not None and note.metadata.get("set") == wrong_set:
        return
    before = note.etag if note else None if files else await folder.etag_of(ERROR_NOTE)
    job_id = await tell(room, folder.name, error, involved)
    body = {"error": error.to_dict(), "what_to_do": _WHAT_TO_DO, "job": job_id}
    await folder.leave(ERROR_NOTE, body, {"set": wrong_set}, instead_of=before)


async def tell(room: Rooms, folder: str, error: DarkroomError, involved: Sequence[UploadedFile]) -> str:
    """The event alone. The id of the failed job, the same one however often it is told."""
    wrong_set = _wrong_set(folder, error, involved)
    owner = await room.upload_owners.owner_of(folder)
    key = f"upload refused\n{wrong_set}"
    claim = await room.idempotency.claim(owner, key, wrong_set, new_id(datetime.now(UTC)))
    # Whoever sees the event alone has to learn which upload it is about.
    named = DarkroomError.from_row({**error.to_row(), "message": f"Upload '{shown(folder)}': {error.message}"})
    await ending.refuse(
        room, claim.job_id, named, door=Door.UPLOAD, owner=owner, kind="edit", idempotency=row_of_key(key)
    )
    return claim.job_id


def _wrong_set(folder: str, error: DarkroomError, involved: Sequence[UploadedFile]) -> str:
    facts: list[Any] = [folder, error.code, error.param, error.message]
    facts += [(file.name, file.fingerprint, dict(file.metadata) if asks(file.metadata) else {}) for file in involved]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
