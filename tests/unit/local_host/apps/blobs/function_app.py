"""Blob triggers with Event Grid as their source: each logs what it was given, which is a reference."""

import base64
import json
import logging
import os
import signal
from pathlib import Path
from typing import Any

import azure.functions as func
from azurefunctions.extensions.base import Datum, InConverter, SdkType

app = func.FunctionApp()
log = logging.getLogger("blobs")


class Reference(SdkType):
    """What the host sends in place of a body."""

    def get_sdk_type(self) -> dict[str, Any]:
        return self._data


class ReferenceConverter(InConverter, binding="blob", trigger="blobTrigger"):
    """Reads a reference and the names in the trigger's metadata."""

    @classmethod
    def check_input_type_annotation(cls, pytype: type) -> bool:
        return issubclass(pytype, Reference)

    @classmethod
    def decode(cls, data: Datum, *, trigger_metadata: dict[str, Datum], pytype: type) -> Reference:
        binding = data.value
        metadata = {name: datum.python_value for name, datum in trigger_metadata.items()}
        return Reference(
            data={
                "type": data.type,
                "version": binding.version,
                "source": binding.source,
                "content": json.loads(binding.content),
                "metadata": metadata,
            }
        )


@app.blob_trigger("blob", "drops/{folder}/{file}", "STORAGE", source=func.BlobSource.EVENT_GRID)
def dropped(blob: Reference) -> None:
    given = blob.get_sdk_type()
    name = given["content"]["BlobName"]
    log.info("dropped %s in %d %s", name, os.getpid(), json.dumps(given))
    if name.startswith("bad/"):
        raise RuntimeError("failed on purpose")
    if name.startswith("risky/"):
        mark = Path(os.environ["MARKS"], "died")
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    log.info("done with %s", name)


@app.queue_trigger("message", "webjobs-blobtrigger-poison", "STORAGE")
def poisoned(message: func.QueueMessage) -> None:
    log.info("poisoned %s", base64.b64decode(message.get_body()).decode())
