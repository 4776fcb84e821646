"""What `infra/` is held against: Azure's roles, what Flex Consumption refuses, and the app's own names."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from tests.infra.bicep_deployment import Deployment

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"

# https://learn.microsoft.com/azure/role-based-access-control/built-in-roles
ROLES = {
    "b7e6dc6d-f1e8-4753-8033-0f276bb0955b": "Storage Blob Data Owner",
    "ba92f5b4-2d11-453d-a403-e96b0029c9fe": "Storage Blob Data Contributor",
    "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1": "Storage Blob Data Reader",
    "db58b8e5-c6ad-4a2a-8342-4190687cbf4a": "Storage Blob Delegator",
    "974c5e8b-45b9-4653-ba55-5f855dd0fb88": "Storage Queue Data Contributor",
    "8a0f0c08-91a1-4084-bc3d-661d67233fed": "Storage Queue Data Message Processor",
    "c6a89b2d-59bc-44d0-9896-0f6e12d7b80a": "Storage Queue Data Message Sender",
    "19e7f393-937e-4f77-808e-94535e297925": "Storage Queue Data Reader",
    "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3": "Storage Table Data Contributor",
    "3913510d-42f4-4e42-8a64-420c390055eb": "Monitoring Metrics Publisher",
    "d5a91429-5739-47e2-a06b-3470a27159e7": "EventGrid Data Sender",
    "5e0bd9bd-7b93-4f28-af87-19fc36ad61bd": "Cognitive Services OpenAI User",
    "4633458b-17de-408a-b874-0445c86b69e6": "Key Vault Secrets User",
    "12338af0-0e69-4776-bea7-57ae8d297424": "Key Vault Crypto User",
    "21090545-7ca7-4776-b22c-e363652d74d2": "Key Vault Reader",
}

# https://learn.microsoft.com/azure/azure-functions/functions-app-settings, "Flex Consumption plan deprecations"
REFUSED_SETTINGS = (
    "FUNCTIONS_WORKER_RUNTIME",
    "FUNCTIONS_WORKER_RUNTIME_VERSION",
    "FUNCTIONS_EXTENSION_VERSION",
    "FUNCTIONS_WORKER_PROCESS_COUNT",
    "FUNCTIONS_MAX_HTTP_CONCURRENCY",
    "FUNCTIONS_WORKER_DYNAMIC_CONCURRENCY_ENABLED",
    "ENABLE_ORYX_BUILD",
    "SCM_DO_BUILD_DURING_DEPLOYMENT",
    "WEBSITE_RUN_FROM_PACKAGE",
    "WEBSITE_CONTENTAZUREFILECONNECTIONSTRING",
    "WEBSITE_CONTENTSHARE",
    "WEBSITE_CONTENTOVERVNET",
    "WEBSITE_TIME_ZONE",
    "TZ",
    # Not refused by the platform: with these the worker would trace for itself, and write poll URLs with their tokens
    # into spans (docs/telemetry.md).
    "PYTHON_APPLICATIONINSIGHTS_ENABLE_TELEMETRY",
    "PYTHON_ENABLE_OPENTELEMETRY",
    "FASTAPI_OTEL_AUTO_CONFIGURE",
)
REFUSED_SITE_CONFIG = (
    *("alwaysOn", "linuxFxVersion", "ftpsState", "functionAppScaleLimit", "healthCheckPath"),
    *("pythonVersion", "use32BitWorkerProcess", "preWarmedInstanceCount", "minimumElasticInstanceCount"),
    *("containerSize", "isReserved", "isXenon", "windowsFxVersion", "vnetBackupRestoreEnabled"),
    *("vnetContentShareEnabled", "vnetImagePullEnabled", "vnetRouteAllEnabled"),
)

_EXISTING = "/subscriptions/s1/resourceGroups/ai/providers/Microsoft.CognitiveServices/accounts/ours"
_PRICES = {"text_input": "4.5", "image_input": "7", "image_output": "27"}
_CHAIN = "-----BEGIN CERTIFICATE-----\\nMIIB\\n-----END CERTIFICATE-----"
# Each is gone through as Azure would: together they take every branch of every file.
VARIANTS: dict[str, dict[str, Any]] = {
    "as it comes": {},
    "private": {"privateNetwork": True, "privateInbound": True},
    "private, public inbound": {"privateNetwork": True, "alertEmail": "ops@example.com"},
    "three regions": {"modelRegions": "westus3, uaenorth,polandcentral", "modelRequestsPerMinute": 60},
    "existing deployment": {
        "existingOpenAiResourceId": _EXISTING,
        "existingOpenAiDeployment": "pictures",
        "modelName": "gpt-image-1.5",
    },
    "existing deployment, private": {
        "existingOpenAiResourceId": _EXISTING,
        "existingOpenAiEndpoint": "https://gateway.example.com",
        "existingOpenAiDeployment": "pictures",
        "privateNetwork": True,
    },
    "everything set": {
        "modelName": "gpt-image-2.5-flare",
        "modelVersion": "2026-09-09",
        "alwaysReadyHttp": 2,
        "alwaysReadyQueue": 1,
        "publicBaseUrl": "https://images.example.com",
        "corsOrigins": "https://studio.example.com, https://example.com",
        "readableContainers": "photos",
        "imageUrlHosts": "images.example.com",
        "callbackHosts": "hooks.example.com",
        "signingCertificateName": "darkroom-signing",
        "signingCertificateChain": _CHAIN,
        "tokenPrices": json.dumps({"currency": "EUR", "models": {"gpt-image-2.5-flare": _PRICES}}),
        "additionalSettings": {"MAX_PROMPT_CHARS": "8000", "EVENT_PROMPTS": "1"},
        "retentionDays": 30,
        "coolAfterDays": 0,
        "vaultPurgeProtection": True,
        "authClientId": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
        "authAllowedClients": "one, two",
        "uploadEvents": "queue",
        "alertEmail": "ops@example.com",
    },
    "a model without a version": {"modelName": "gpt-image-2.5-sunburst", "maximumInstanceCount": 100},
    "sign-in of anybody in the tenant": {"authClientId": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"},
}


@cache
def deployed(variant: str = "as it comes") -> Deployment:
    """What `azd up` would ask Azure for."""
    given = {"environmentName": "demo", "location": "westeurope", **VARIANTS[variant]}
    return Deployment(INFRA / "main.bicep", given).run()


def settings_of(variant: str = "as it comes") -> dict[str, Any]:
    """The app's settings in that deployment."""
    found = next(one for one in deployed(variant).of_type("Microsoft.Web/sites/config") if one.name == "appsettings")
    properties: dict[str, Any] = found.body["properties"]
    return properties


@cache
def bindings() -> dict[str, list[dict[str, Any]]]:
    """Each function's bindings, as the runtime library indexes them (a test of its own sees to that)."""
    found: dict[str, list[dict[str, Any]]] = json.loads((ROOT / "tests" / "app" / "bindings.json").read_text())
    return found
