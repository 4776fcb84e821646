"""The error bodies of the service: one builder for each body family, and every documented row by name.

Three families reach one client: the gateway's `{"error": {"code", "message"}}`, the model back end's
`{"error": {"message", "type", "param", "code"}}`, and the content filter's, which adds `inner_error`. `NAMED` holds a
builder for every documented row, so that a test can ask for any of them (`behaviour.py`); the checks of a request raise
the same builders' errors.

Sources: Azure OpenAI inference specification 2025-04-01-preview (`dalleErrorResponse`), the quotas and troubleshooting
pages of the Azure documentation, and bodies quoted in public issue threads of the OpenAI SDKs and LiteLLM.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

OPERATION_NAMES = {"generations": "ImageGenerations_Create", "edits": "ImageGenerations_Edit"}
"""Operation ids of the specification. Which string the real 429 carries was never captured: a knob sets another."""


@dataclass
class ServiceError(Exception):
    """A refusal of the service: HTTP status, JSON body and extra headers."""

    status: int
    body: Any
    """JSON, or text to be sent as it is."""
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def code(self) -> str | None:
        error = self.body.get("error") if isinstance(self.body, dict) else None
        code = error.get("code") if isinstance(error, dict) else None
        return None if code is None else str(code)

    def __str__(self) -> str:
        return f"{self.status} {self.code}"


@dataclass(frozen=True)
class ErrorContext:
    """What an error text mentions of the call it answers."""

    operation: str = "generations"
    api_version: str = "2025-04-01-preview"
    request_id: str = "00000000-0000-0000-0000-000000000000"
    deployment: str = "gpt-image-1"
    retry_after_seconds: float = 5.0
    rate_limit_operation: str | None = None


def gateway_error(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> ServiceError:
    """The gateway's family: code is often the status as a string."""
    return ServiceError(status, {"error": {"code": code, "message": message}}, headers or {})


def backend_error(
    message: str,
    *,
    code: str | None,
    param: str | None = None,
    kind: str = "invalid_request_error",
    status: int = 400,
    **extra: Any,
) -> ServiceError:
    """The model back end's family, OpenAI's own shape."""
    return ServiceError(status, {"error": {"message": message, "type": kind, "param": param, "code": code, **extra}})


def invalid_value(param: str, message: str) -> ServiceError:
    return backend_error(message, code="invalid_value", param=param)


def unsupported_value(param: str, value: object, supported: tuple[str, ...]) -> ServiceError:
    """`Invalid value: '512x512'. Supported values are: '1024x1024', ..., and 'auto'.`"""
    quoted = [f"'{item}'" for item in supported]
    listing = f"{', '.join(quoted[:-1])}, and {quoted[-1]}" if len(quoted) > 2 else " and ".join(quoted)
    return invalid_value(param, f"Invalid value: '{value}'. Supported values are: {listing}.")


def invalid_type(param: str, expected: str, got: str) -> ServiceError:
    return backend_error(
        f"Invalid type for '{param}': expected {expected}, but got {got} instead.", code="invalid_type", param=param
    )


def out_of_range(param: str, value: int, low: int, high: int) -> ServiceError:
    if value > high:
        text = f"Invalid '{param}': integer above maximum value. Expected a value <= {high}, but got {value} instead."
        return backend_error(text, code="integer_above_max_value", param=param)
    text = f"Invalid '{param}': integer below minimum value. Expected a value >= {low}, but got {value} instead."
    return backend_error(text, code="integer_below_min_value", param=param)


def unknown_parameter(param: str) -> ServiceError:
    return backend_error(f"Unknown parameter: '{param}'.", code="unknown_parameter", param=param)


def missing_parameter(param: str) -> ServiceError:
    return backend_error(f"Missing required parameter: '{param}'.", code="missing_required_parameter", param=param)


def unauthorized(_: ErrorContext) -> ServiceError:
    return gateway_error(
        401,
        "401",
        "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key for an "
        "active subscription and use a correct regional API endpoint for your resource.",
    )


def invalid_token(_: ErrorContext) -> ServiceError:
    return gateway_error(
        401,
        "401",
        "Unauthorized. Access token is missing, invalid, audience is incorrect (https://cognitiveservices.azure.com or "
        "https://ai.azure.com), or have expired.",
    )


def permission_denied(context: ErrorContext) -> ServiceError:
    action = f"Microsoft.CognitiveServices/accounts/OpenAI/deployments/images/{context.operation}/action"
    return gateway_error(
        401, "PermissionDenied", f"The principal lacks the required data action `{action}` to perform this operation."
    )


def deployment_not_found(_: ErrorContext) -> ServiceError:
    return gateway_error(
        404,
        "DeploymentNotFound",
        "The API deployment for this resource does not exist. If you created the deployment within the last 5 minutes, "
        "please wait a moment and try again.",
    )


def resource_not_found(_: ErrorContext) -> ServiceError:
    return gateway_error(404, "404", "Resource not found")


def _throttled(context: ErrorContext, message: str) -> ServiceError:
    """429 with `retry-after-ms` (documented) and `Retry-After` (observed)."""
    seconds = max(context.retry_after_seconds, 0.001)
    headers = {"retry-after-ms": str(math.ceil(seconds * 1000)), "retry-after": str(math.ceil(seconds))}
    return gateway_error(429, "429", message, headers)


def rate_limited(context: ErrorContext, what: str = "call") -> ServiceError:
    operation = context.rate_limit_operation or OPERATION_NAMES[context.operation]
    return _throttled(
        context,
        f"Requests to the {operation} Operation under Azure OpenAI API version {context.api_version} have exceeded "
        f"{what} rate limit of your current OpenAI S0 pricing tier. Please retry after "
        f"{math.ceil(context.retry_after_seconds)} seconds. Please go here: https://aka.ms/oai/quotaincrease if you "
        "would like to further increase the default rate limit.",
    )


def moderation_blocked(context: ErrorContext, stage: str = "input") -> ServiceError:
    return backend_error(
        "Your request was rejected by the safety system. If you believe this is an error, contact us by opening an "
        f"Azure support ticket and include the request ID {context.request_id}. safety_violations=[violence].",
        code="moderation_blocked",
        kind="image_generation_user_error",
        moderation_details={"moderation_stage": stage, "categories": ["violence"]},
    )


def _content_filter(message: str) -> ServiceError:
    return ServiceError(
        400,
        {"created": 1763800000, "error": {"code": "contentFilter", "message": message, "type": None, "param": None}},
    )


def content_policy_violation(_: ErrorContext) -> ServiceError:
    return backend_error(
        "Your request was rejected as a result of our safety system. Your prompt may contain text that is not allowed "
        "by our safety system.",
        code="content_policy_violation",
        inner_error={
            "code": "ResponsibleAIPolicyViolation",
            "content_filter_results": {
                "hate": {"filtered": False, "severity": "safe"},
                "jailbreak": {"detected": False, "filtered": False},
                "profanity": {"detected": False, "filtered": False},
                "self_harm": {"filtered": False, "severity": "safe"},
                "sexual": {"filtered": False, "severity": "safe"},
                "violence": {"filtered": True, "severity": "medium"},
            },
            "revised_prompt": None,
        },
    )


def _server_error(context: ErrorContext) -> ServiceError:
    return backend_error(
        "The server had an error while processing your request. Sorry about that! You can retry your request, or "
        f"contact us through an Azure support request if it persists. Include the request ID {context.request_id}.",
        code=None,
        kind="server_error",
        status=500,
    )


NAMED: dict[str, Callable[[ErrorContext], ServiceError]] = {
    "invalid_value": lambda _: unsupported_value("size", "512x512", ("1024x1024", "1024x1536", "1536x1024", "auto")),
    "invalid_quality": lambda _: unsupported_value("quality", "hd", ("low", "medium", "high", "auto")),
    "invalid_type": lambda _: invalid_type("size", "a string", "an integer"),
    "integer_above_max_value": lambda _: out_of_range("n", 11, 1, 10),
    "unknown_parameter": lambda _: unknown_parameter("response_format"),
    "moderation_blocked": moderation_blocked,
    "moderation_blocked_output": lambda context: moderation_blocked(context, "output"),
    "content_filter_prompt": lambda _: _content_filter(
        "Your task failed as a result of our safety system."  # the prompt was refused
    ),
    "content_filter_output": lambda _: _content_filter(
        "Generated image was filtered as a result of our safety system."  # the picture was refused
    ),
    "content_policy_violation": content_policy_violation,
    "operation_not_supported": lambda _: gateway_error(
        400,
        "OperationNotSupported",
        "The requested operation does not work with the specified model. Please choose different model and try again.",
    ),
    "unknown_model": lambda context: backend_error(f"Unknown model: {context.deployment}", code=None, param="model"),
    "model_does_not_exist": lambda context: backend_error(
        f"The model '{context.deployment}' does not exist.",
        code="invalid_value",
        param="model",
        kind="image_generation_user_error",
    ),
    "invalid_payload": lambda _: gateway_error(
        400, "InvalidPayload", "The request body has missing or invalid fields."
    ),
    "unauthorized": unauthorized,
    "invalid_token": invalid_token,
    "permission_denied": permission_denied,
    "forbidden": lambda _: gateway_error(
        403,
        "Forbidden",
        "Your resource has been temporarily blocked because we detected behavior that may violate our content policy.",
    ),
    "forbidden_network": lambda _: gateway_error(403, "403", "Access denied due to Virtual Network/Firewall rules."),
    "deployment_not_found": deployment_not_found,
    "resource_not_found": resource_not_found,
    "request_timeout": lambda _: gateway_error(408, "Timeout", "The operation was timeout."),
    "too_many_headers": lambda _: gateway_error(431, "431", "Request Header Fields Too Large"),
    "rate_limited": rate_limited,
    "token_rate_limited": lambda context: rate_limited(context, "token"),
    "rate_limit_exceeded": lambda context: _throttled(
        context, f"Rate limit is exceeded. Try again in {math.ceil(context.retry_after_seconds)} seconds."
    ),
    "high_demand": lambda context: _throttled(
        context,
        "System is experiencing high demand and may not be able to process your request. Please try again later.",
    ),
    "server_error": _server_error,
    "internal_error": lambda _: gateway_error(500, "InternalServerError", "Internal server error"),
    "bad_gateway": lambda _: gateway_error(502, "BadGateway", "Bad gateway"),
    "service_unavailable": lambda _: gateway_error(
        503, "ServiceUnavailable", "The service is temporarily unable to process your request. Please try again later."
    ),
    "gateway_timeout": lambda _: gateway_error(
        504, "GatewayTimeout", "The gateway did not receive a response in time."
    ),
}

PROMPT_MARKERS = (
    "moderation_blocked",
    "moderation_blocked_output",
    "content_filter_prompt",
    "content_filter_output",
    "content_policy_violation",
)
"""Rows that a prompt provokes by itself: one that contains `[[moderation_blocked]]` is refused with that row."""


def marked_refusal(prompt: str, context: ErrorContext) -> ServiceError | None:
    """The refusal whose `[[marker]]` the prompt contains, if any."""
    return next((NAMED[name](context) for name in PROMPT_MARKERS if f"[[{name}]]" in prompt), None)
