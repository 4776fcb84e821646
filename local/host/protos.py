"""Stand-ins for the protobuf classes of FunctionRpc that `azure-functions-runtime` asks its caller for.

The worker hands this module to the runtime as its `protos`. The runtime builds these by keyword, compares a few enum
numbers and asks inputs which member of their oneof is set; it never serialises them, so plain attribute bags do.
Names and numbers are those of FunctionRpc.proto (Azure/azure-functions-language-worker-protobuf).
"""

from __future__ import annotations

from typing import Any, ClassVar


class _Bag:
    """A message: whatever keywords it was made with, as attributes."""

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)


class TypedData(_Bag):
    """A value: exactly one of string, json, bytes, http or model_binding_data is set, or none of them."""

    def WhichOneof(self, group: str) -> str | None:  # noqa: ARG002, N802  (protobuf's own name)
        """The name of the member that is set."""
        return next(iter(self.__dict__), None)


class ParameterBinding(_Bag):
    """A named input or output."""

    def WhichOneof(self, group: str) -> str:  # noqa: ARG002, N802  (protobuf's own name)
        """Always `data`: shared memory is never used here."""
        return "data"


class StatusResult(_Bag):
    """How an operation ended."""

    Failure: ClassVar[int] = 0
    Success: ClassVar[int] = 1
    Cancelled: ClassVar[int] = 2


class BindingInfo(_Bag):
    """A binding's type, data type and direction (`in` is 0; as a keyword it is set below the class)."""

    inout: ClassVar[int] = 2
    out: ClassVar[int] = 1
    undefined: ClassVar[int] = 0
    string: ClassVar[int] = 1
    binary: ClassVar[int] = 2
    stream: ClassVar[int] = 3


setattr(BindingInfo, "in", 0)


class RpcHttp(_Bag):
    """An HTTP request; in HTTP-streams mode only its route parameters count."""


class ModelBindingData(_Bag):
    """A reference for a parameter of an SDK type: `version`, `source`, `content_type`, and `content` as bytes."""


class RpcException(_Bag):
    """A failure: `message` and `stack_trace`, both text."""


class RpcFunctionMetadata(_Bag):
    """An indexed function."""


class RpcRetryOptions(_Bag):
    """A function's `@retry` decorator."""


class WorkerInitResponse(_Bag):
    """The answer to the request that indexes the app."""


class WorkerMetadata(_Bag):
    """Versions of Python and of the runtime library."""


class FunctionMetadataResponse(_Bag):
    """The list of indexed functions."""


class FunctionLoadResponse(_Bag):
    """The answer to loading one function."""


class FunctionEnvironmentReloadResponse(_Bag):
    """Named by the runtime; the local host starts a new process in place of reloading one."""


class InvocationResponse(_Bag):
    """The end of an invocation."""


class NullableString(_Bag):
    """A string or nothing (cookies)."""


class NullableBool(_Bag):
    """A flag or nothing (cookies)."""


class NullableDouble(_Bag):
    """A number or nothing (cookies)."""


class NullableTimestamp(_Bag):
    """A time or nothing (cookies)."""


class Timestamp(_Bag):
    """A point in time (cookies)."""


class RpcHttpCookie(_Bag):
    """A cookie to set; unused in HTTP-streams mode, where responses leave by HTTP."""

    SameSite: ClassVar[type] = type("SameSite", (), {"None": 0, "Lax": 1, "Strict": 2, "ExplicitNone": 3})
