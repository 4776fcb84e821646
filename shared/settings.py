"""The environment, read once into one frozen `Settings` (design section 9).

Read on first use and never at import, so that a wrong setting cannot make the app's functions vanish: what is wrong
becomes a sentence in `Settings.problems`, shown by `/api/health/details`, and the default stands in its place.
"""

from __future__ import annotations

import base64
import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import urlsplit

COGNITIVE_SERVICES_SCOPE = "https://cognitiveservices.azure.com/.default"
DEFAULT_API_VERSION = "2025-04-01-preview"
DEFAULT_REQUESTS_PER_MINUTE = 9.0
# At least two labels: an entry `com` or `local` would open more than anybody means.
_HOST = re.compile(r"(?=.{1,253}$)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Deployment:
    """One GPT-Image deployment Darkroom may call. `name` is what requests call it; `deployment` what Azure does."""

    name: str
    endpoint: str
    deployment: str
    model: str = "gpt-image-1"
    region: str | None = None
    requests_per_minute: float = DEFAULT_REQUESTS_PER_MINUTE
    images_per_minute: float | None = None
    priority: int = 0
    api_version: str = DEFAULT_API_VERSION
    scope: str = COGNITIVE_SERVICES_SCOPE


@dataclass(frozen=True, slots=True)
class Settings:
    deployments: tuple[Deployment, ...] = ()
    blob_service_uri: str = ""
    queue_service_uri: str = ""
    table_service_uri: str = ""
    identity_client_id: str | None = None
    storage_client_id: str | None = None
    topic_endpoint_uri: str = ""
    public_base_url: str = ""
    app_name: str = "darkroom"
    platform_auth: bool = False
    max_prompt_chars: int = 4_000
    max_request_bytes: int = 100 * 2**20
    sync_budget_seconds: float = 210.0
    job_max_wait_hours: float = 24.0
    retry_unknown_outcome: str = "crash"
    c2pa_trust_anchors: str | None = None
    signing_certificate: str | None = None
    signing_certificate_chain: str | None = None
    token_prices: str | None = None
    result_link_minutes: int = 60
    event_prompts: bool = False
    size_fit: str = "refuse"
    require_provenance: bool = False
    compat_wait_for_storage: bool = False
    readable_containers: frozenset[str] = frozenset()
    callback_hosts: tuple[str, ...] = ()
    callback_signing_keys: tuple[str, ...] = field(default=(), repr=False)
    image_url_hosts: tuple[str, ...] = ()
    retention_days: float | None = None
    allow_private_networks: bool = False
    otlp_endpoint: str | None = None
    application_insights: str | None = field(default=None, repr=False)
    problems: tuple[str, ...] = field(default=())

    def deployment(self, name: str) -> Deployment | None:
        return next((deployment for deployment in self.deployments if deployment.name == name), None)


@cache
def settings() -> Settings:
    """The settings of this process, read from the environment the first time they are asked for."""
    return read(os.environ)


def read(env: Mapping[str, str]) -> Settings:
    """Settings from `env`. Never raises: each wrong value leaves its default and a sentence in `problems`."""
    reader = _Reader(env)
    on_azure = bool(env.get("WEBSITE_SITE_NAME"))
    deployments = _deployments(reader)
    private = reader.flag("ALLOW_PRIVATE_NETWORKS")
    if private and on_azure:
        reader.problem("ALLOW_PRIVATE_NETWORKS", "exists for the local stack and is refused on Azure; remove it")
    hostname = env.get("WEBSITE_HOSTNAME", "")
    base = reader.url("PUBLIC_BASE_URL", required=False, schemes=("https", "http")) or (
        f"https://{hostname}" if hostname else ""
    )
    if not base:
        reader.problem("PUBLIC_BASE_URL", "is not set and WEBSITE_HOSTNAME is not there to build links from")
    return Settings(
        deployments=deployments,
        blob_service_uri=reader.url("STORAGE__blobServiceUri"),
        queue_service_uri=reader.url("STORAGE__queueServiceUri"),
        table_service_uri=reader.url("STORAGE__tableServiceUri"),
        identity_client_id=env.get("AZURE_CLIENT_ID") or None,
        storage_client_id=env.get("STORAGE__clientId") or env.get("AZURE_CLIENT_ID") or None,
        topic_endpoint_uri=reader.url("EVENTS__topicEndpointUri"),
        public_base_url=base,
        app_name=env.get("WEBSITE_SITE_NAME") or "darkroom",
        platform_auth=env.get("WEBSITE_AUTH_ENABLED", "").lower() == "true",
        max_prompt_chars=int(reader.number("MAX_PROMPT_CHARS", 4_000, 1, 32_000)),
        max_request_bytes=int(reader.number("MAX_REQUEST_BYTES", 100 * 2**20, 1_024, 100 * 2**20)),
        sync_budget_seconds=reader.number("SYNC_BUDGET_SECONDS", 210, 1, 225),
        job_max_wait_hours=reader.number("JOB_MAX_WAIT_HOURS", 24, 0.001, 24 * 7),
        retry_unknown_outcome=reader.choice("RETRY_UNKNOWN_OUTCOME", "crash", ("never", "crash", "always")),
        c2pa_trust_anchors=env.get("C2PA_TRUST_ANCHORS") or None,
        signing_certificate=reader.text("SIGNING_CERTIFICATE") or None,
        signing_certificate_chain=reader.text("SIGNING_CERTIFICATE_CHAIN") or None,
        token_prices=reader.text("TOKEN_PRICES") or None,
        result_link_minutes=int(reader.number("RESULT_LINK_MINUTES", 60, 1, 10_080)),
        event_prompts=reader.flag("EVENT_PROMPTS"),
        size_fit=reader.choice("SIZE_FIT", "refuse", ("refuse", "contain", "cover")),
        require_provenance=reader.flag("REQUIRE_PROVENANCE"),
        compat_wait_for_storage=reader.flag("COMPAT_WAIT_FOR_STORAGE"),
        readable_containers=frozenset(reader.listed("READABLE_CONTAINERS")),
        callback_hosts=reader.hosts("CALLBACK_HOSTS"),
        callback_signing_keys=reader.signing_keys("CALLBACK_SIGNING_KEY"),
        image_url_hosts=reader.hosts("IMAGE_URL_HOSTS"),
        retention_days=reader.number("RETENTION_DAYS", 0, 1, 36_500) or None,
        allow_private_networks=private and not on_azure,
        otlp_endpoint=env.get("OTEL_EXPORTER_OTLP_ENDPOINT") or None,
        application_insights=env.get("APPLICATIONINSIGHTS_CONNECTION_STRING") or None,
        problems=tuple(reader.problems),
    )


class _Reader:
    """Typed look-ups that note what is wrong instead of raising."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env
        self.problems: list[str] = []

    def problem(self, name: str, what: str) -> None:
        self.problems.append(f"{name} {what}.")

    def text(self, name: str, default: str = "") -> str:
        return self._env.get(name, "").strip() or default

    def url(self, name: str, *, required: bool = True, schemes: tuple[str, ...] = ("https",)) -> str:
        value = self.text(name).rstrip("/")
        if not value:
            if required:
                self.problem(name, "is not set")
            return ""
        parts = urlsplit(value)
        if parts.scheme not in schemes or not parts.hostname:
            self.problem(name, "is no absolute https URL")
            return ""
        return value

    def number(self, name: str, default: float, low: float, high: float) -> float:
        value = self.text(name)
        if not value:
            return default
        try:
            number = float(value)
        except ValueError:
            number = float("nan")
        if not low <= number <= high:
            self.problem(name, f"is no number from {low:g} to {high:g}; {default:g} is used")
            return default
        return number

    def choice(self, name: str, default: str, choices: tuple[str, ...]) -> str:
        value = self.text(name, default)
        if value not in choices:
            self.problem(name, f"is none of {', '.join(choices)}; {default} is used")
            return default
        return value

    def listed(self, name: str) -> tuple[str, ...]:
        """Entries separated by commas or white space."""
        return tuple(self.text(name).replace(",", " ").split())

    def hosts(self, name: str) -> tuple[str, ...]:
        """Host names, in lower case; an entry that is none is left out."""
        entries = tuple(entry.lower().removesuffix(".") for entry in self.listed(name))
        for entry in entries:
            if not _HOST.fullmatch(entry):
                self.problem(name, f"has an entry that is no host name ({len(entry)} characters)")
        return tuple(entry for entry in entries if _HOST.fullmatch(entry))

    def signing_keys(self, name: str) -> tuple[str, ...]:
        """Keys of Standard Webhooks (`whsec_` and base64 of 24 to 64 bytes), the current one first."""
        entries = self.listed(name)
        usable = tuple(entry for entry in entries if _is_signing_key(entry))
        if len(usable) < len(entries):
            self.problem(name, "has an entry that is no key: each is whsec_ and the base64 of 24 to 64 bytes")
        return usable

    def flag(self, name: str) -> bool:
        return self.choice(name, "0", ("0", "1", "false", "true")) in ("1", "true")


def _is_signing_key(text: str) -> bool:
    try:
        return text.startswith("whsec_") and 24 <= len(base64.b64decode(text[6:], validate=True)) <= 64
    except ValueError:
        return False


def _deployments(reader: _Reader) -> tuple[Deployment, ...]:
    listed = reader.text("DEPLOYMENTS")
    if listed:
        return _listed_deployments(reader, listed)
    endpoint = reader.url("AZURE_OPENAI_ENDPOINT")
    if not endpoint:
        return ()
    deployment = reader.text("AZURE_OPENAI_DEPLOYMENT", "gpt-image-1")
    rpm = reader.number("AZURE_OPENAI_REQUESTS_PER_MINUTE", DEFAULT_REQUESTS_PER_MINUTE, 0.01, 100_000)
    return (
        Deployment(
            name=deployment,
            endpoint=endpoint,
            deployment=deployment,
            model=reader.text("AZURE_OPENAI_MODEL", "gpt-image-1"),
            requests_per_minute=rpm,
            api_version=reader.text("AZURE_OPENAI_API_VERSION", DEFAULT_API_VERSION),
            scope=reader.text("AZURE_OPENAI_SCOPE", COGNITIVE_SERVICES_SCOPE),
        ),
    )


def _listed_deployments(reader: _Reader, listed: str) -> tuple[Deployment, ...]:
    try:
        entries = json.loads(listed)
    except ValueError:
        entries = None
    if not isinstance(entries, list) or not entries:
        reader.problem("DEPLOYMENTS", "is no JSON list with at least one deployment")
        return ()
    found: dict[str, Deployment] = {}
    for position, entry in enumerate(entries):
        where = f"DEPLOYMENTS[{position}]"
        deployment = _listed_deployment(reader, where, entry)
        if deployment is None:
            continue
        if deployment.name in found:
            reader.problem(where, f"repeats the name {deployment.name}")
            continue
        found[deployment.name] = deployment
    return tuple(found.values())


DEPLOYMENT_MEMBERS: dict[str, tuple[type, ...]] = {
    "name": (str,),
    "endpoint": (str,),
    "deployment": (str,),
    "model": (str,),
    "region": (str,),
    "requests_per_minute": (int, float),
    "images_per_minute": (int, float),
    "priority": (int,),
    "api_version": (str,),
    "scope": (str,),
}


def _listed_deployment(reader: _Reader, where: str, entry: Any) -> Deployment | None:
    if not isinstance(entry, dict):
        reader.problem(where, "is no JSON object")
        return None
    for name, value in entry.items():
        types = DEPLOYMENT_MEMBERS.get(name)
        if types is None:
            reader.problem(f"{where}.{name}", f"is not known; known are {', '.join(DEPLOYMENT_MEMBERS)}")
            return None
        if not isinstance(value, types) or isinstance(value, bool) or (value in ("", 0) and name != "priority"):
            reader.problem(f"{where}.{name}", "has the wrong type or is empty")
            return None
    if "name" not in entry or "endpoint" not in entry:
        reader.problem(where, "needs name and endpoint")
        return None
    parts = urlsplit(entry["endpoint"])
    if parts.scheme != "https" or not parts.hostname:
        reader.problem(f"{where}.endpoint", "is no absolute https URL")
        return None
    if not all(0 < entry.get(name, 1) < math.inf for name in ("requests_per_minute", "images_per_minute")):
        reader.problem(where, "has a quota that is no positive number")
        return None
    known = dict(entry, endpoint=entry["endpoint"].rstrip("/"))
    known.setdefault("deployment", entry["name"])
    return Deployment(**known)
