"""The name of an announced blob, as a blob trigger's parameter: the host sends a reference and no bytes.

A parameter of type `InputStream` would have the host send the whole blob and the library hold it. The library of SDK
types (`azurefunctions-extensions-bindings-blob`) sends a reference too, but imports the Storage SDK when the app is
loaded and makes a client for each run; this is the same interface without either.
"""

import json
from typing import Any

from azurefunctions.extensions.base import Datum, InConverter, SdkType


class BlobReference(SdkType):  # type: ignore[misc]  # the library has no types
    """Container and name of a blob, from the host's `ModelBindingData` (source `AzureStorageBlobs`, version 1.0).

    Its `content` is JSON with Connection, ContainerName and BlobName (azurefunctions-extensions-bindings-blob 1.1.2,
    blobClient.py).
    """

    def __init__(self, *, data: Any) -> None:
        super().__init__()
        content = json.loads(data.content)
        self.container = str(content["ContainerName"])
        self.name = str(content["BlobName"])

    def get_sdk_type(self) -> "BlobReference":
        """The interface's other half: what the parameter is given. Nothing is opened for a name."""
        return self


class BlobReferenceConverter(InConverter, binding="blob", trigger="blobTrigger"):  # type: ignore[misc, call-arg]
    """Registers `BlobReference` with the runtime library for blob triggers."""

    @classmethod
    def check_input_type_annotation(cls, pytype: type) -> bool:
        return isinstance(pytype, type) and issubclass(pytype, BlobReference)

    @classmethod
    def decode(cls, data: Datum, *, trigger_metadata: Any, pytype: Any = BlobReference) -> Any:  # noqa: ARG003
        if data is None or data.type != "model_binding_data":
            raise ValueError("a blob trigger of this app takes a reference; the host sent something else")
        return BlobReference(data=data.value)

    @classmethod
    def has_implicit_output(cls) -> bool:
        return False
