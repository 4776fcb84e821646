"""The environment the stack's children get: whose settings win, and what is set when nobody set it.

The settings of the app (design section 9) pass through from whoever starts the stack. Three kinds are treated apart:
addresses of the stack's own servers and the means to reach them are always the stack's; the defaults below yield to
what is set; a real `AZURE_OPENAI_ENDPOINT` takes the place of the local model server and of the defaults around it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from local.certificates import Certificates, trust_environment
from local.state import StackInfo

DEFAULT_REQUESTS_PER_MINUTE = "60"
VAULT_CERTIFICATE = "darkroom-signing"
MODEL_AUDIENCES = ("https://cognitiveservices.azure.com", "https://ai.azure.com")
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


def real_endpoint(environ: Mapping[str, str]) -> str | None:
    """Return the model endpoint to use in place of the local server, if one is set."""
    return environ.get("AZURE_OPENAI_ENDPOINT") or None


def real_audiences(environ: Mapping[str, str]) -> list[str]:
    """Return the audiences whose tokens must be real ones: those of the model and of the vault with the signing
    certificate, where they are beyond this machine."""
    return [*_model_audiences(environ), *_vault_audience(environ)]


def _vault_audience(environ: Mapping[str, str]) -> list[str]:
    host = urlsplit(environ.get("SIGNING_CERTIFICATE") or "").hostname
    return [] if not host or host in _LOOPBACK else [f"https://{host.partition('.')[2]}"]


def _model_audiences(environ: Mapping[str, str]) -> list[str]:
    listed = _listed_deployments(environ)
    endpoints = [entry.get("endpoint") for entry in listed] or [real_endpoint(environ)]
    if all(not endpoint or urlsplit(str(endpoint)).hostname in _LOOPBACK for endpoint in endpoints):
        return []
    scopes = [entry.get("scope") for entry in listed] or [environ.get("AZURE_OPENAI_SCOPE")]
    named = (str(scope).removesuffix("/.default") for scope in scopes if scope)
    return [*dict.fromkeys([*MODEL_AUDIENCES, *named])]


def _listed_deployments(environ: Mapping[str, str]) -> list[dict[str, Any]]:
    """`DEPLOYMENTS`, as far as it can be read; that it is wrong the app says itself."""
    try:
        listed = json.loads(environ.get("DEPLOYMENTS") or "[]")
    except ValueError:
        return []
    return [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []


def requests_per_minute(environ: Mapping[str, str]) -> str:
    """Return the local model's quota: `LOCAL_RPM`, else what the app is told, else one that lets newcomers play."""
    return environ.get("LOCAL_RPM") or environ.get("AZURE_OPENAI_REQUESTS_PER_MINUTE") or DEFAULT_REQUESTS_PER_MINUTE


def wants_telemetry(environ: Mapping[str, str]) -> bool:
    """Whether the stack is to have a receiver of traces, metrics and logs, and the app to send them there."""
    return environ.get("LOCAL_TELEMETRY", "") not in ("", "0")


def _telemetry(endpoint: str) -> dict[str, str]:
    """Everything is sent soon: somebody waits to see it."""
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_BSP_SCHEDULE_DELAY": "500",
        "OTEL_BLRP_SCHEDULE_DELAY": "500",
        "OTEL_METRIC_EXPORT_INTERVAL": "1000",
    }


def child_environment(environ: Mapping[str, str], certificates: Certificates) -> dict[str, str]:
    """Return what every child gets: the caller's environment, trust in the stack, and output that comes at once."""
    return {**environ, **trust_environment(certificates), "PYTHONUNBUFFERED": "1"}


def app_environment(environ: Mapping[str, str], certificates: Certificates, info: StackInfo) -> dict[str, str]:
    """Return the environment of the host and the app for the stack that `info` describes."""
    defaults = {"PUBLIC_BASE_URL": info.app, "ALLOW_PRIVATE_NETWORKS": "1"}
    if real_endpoint(environ) is None:
        defaults |= {
            "AZURE_OPENAI_ENDPOINT": info.model,
            "AZURE_OPENAI_DEPLOYMENT": "gpt-image-1",
            "AZURE_OPENAI_MODEL": "gpt-image-1",
            "AZURE_OPENAI_REQUESTS_PER_MINUTE": requests_per_minute(environ),
        }
        if info.c2pa_ca is not None:
            defaults["C2PA_TRUST_ANCHORS"] = info.c2pa_ca
    if info.vault is not None:
        defaults["SIGNING_CERTIFICATE"] = f"{info.vault}/certificates/{VAULT_CERTIFICATE}"
    if info.telemetry is not None:
        defaults |= _telemetry(info.telemetry)
    given = {name: value for name, value in child_environment(environ, certificates).items() if value}
    return {
        **defaults,
        **given,
        "STORAGE__blobServiceUri": info.blob,
        "STORAGE__queueServiceUri": info.queue,
        "STORAGE__tableServiceUri": info.table,
        "EVENTS__topicEndpointUri": f"{info.topic}/api/events",
        "IDENTITY_ENDPOINT": info.identity,
        "IDENTITY_HEADER": info.identity_header,
        "LOCAL_HOST_KEY": info.key,
    }
