"""The settings the app is given: those it needs, none the platform refuses, and nothing that opens a door."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from shared import settings as app_settings
from shared.images import prices
from tests.infra.bicep_deployment import TRIGGER_KEY, Deployment
from tests.infra.reference import INFRA, REFUSED_SETTINGS, REFUSED_SITE_CONFIG, ROOT, VARIANTS, bindings, deployed
from tests.infra.reference import settings_of as given

every_way = pytest.mark.parametrize("variant", VARIANTS)
_OF_THE_PLATFORM = {"WEBSITE_SITE_NAME": "func-x", "WEBSITE_HOSTNAME": "func-x.azurewebsites.net"}
_SIGNING_KEY = "whsec_" + "A" * 44


def as_the_app_sees_them(variant: str) -> dict[str, str]:
    """With Key Vault references resolved, and what the platform sets itself."""
    resolved = {name: _SIGNING_KEY for name, value in given(variant).items() if value.startswith("@Microsoft.KeyVault")}
    return given(variant) | resolved | _OF_THE_PLATFORM


@every_way
def test_the_app_reads_its_settings_without_a_complaint(variant: str) -> None:
    read = app_settings.read(as_the_app_sees_them(variant))

    assert read.problems == ()
    assert read.deployments
    assert read.blob_service_uri
    assert read.topic_endpoint_uri.endswith("/api/events")
    assert read.identity_client_id == read.storage_client_id == given(variant)["AZURE_CLIENT_ID"]


@every_way
def test_every_value_is_text_as_the_platform_wants(variant: str) -> None:
    assert [name for name, value in given(variant).items() if not isinstance(value, str)] == []


@every_way
def test_no_setting_is_one_that_flex_consumption_refuses(variant: str) -> None:
    assert set(given(variant)) & set(REFUSED_SETTINGS) == set()


@every_way
def test_the_site_has_no_property_that_flex_consumption_refuses(variant: str) -> None:
    site = deployed(variant).one("Microsoft.Web/sites").at("properties")
    config = site["siteConfig"]

    assert {*site, *config} & set(REFUSED_SITE_CONFIG) == set()
    assert "appSettings" not in config, "settings are said in one place"


def test_every_setting_is_one_of_the_page_or_of_the_platform() -> None:
    page = (ROOT / "docs" / "settings.md").read_text()
    platforms = {
        *(name for name in given() if name.startswith("AzureWebJobs")),
        *("APPLICATIONINSIGHTS_CONNECTION_STRING", "APPLICATIONINSIGHTS_AUTHENTICATION_STRING"),
        *("OVERRIDE_USE_MI_FIC_ASSERTION_CLIENTID", "WEBSITE_AUTH_AAD_ALLOWED_TENANTS"),
    }
    for variant in VARIANTS:
        assert [name for name in given(variant) if name not in platforms and f"`{name}`" not in page] == []


def test_every_connection_of_a_binding_has_its_endpoints_credential_and_client_id() -> None:
    triggers = [binding for one in bindings().values() for binding in one if "connection" in binding]
    wanted = {"queueTrigger": ("queueServiceUri",), "blobTrigger": ("blobServiceUri", "queueServiceUri")}

    assert triggers
    for trigger in triggers:
        for member in (*wanted[trigger["type"]], "clientId"):
            assert given().get(f"{trigger['connection']}__{member}"), trigger
        assert given()[f"{trigger['connection']}__credential"] == "managedidentity"
    for member in ("blobServiceUri", "queueServiceUri", "tableServiceUri", "clientId"):
        assert given()[f"AzureWebJobsStorage__{member}"]
    assert given()["AzureWebJobsStorage__credential"] == "managedidentity"


def test_a_connection_has_one_way_to_name_its_identity() -> None:
    assert [name for name in given() if name.endswith(("__managedIdentityResourceId", "__accountName"))] == []


@every_way
def test_no_setting_and_no_output_holds_a_key_or_a_connection_string(variant: str) -> None:
    suspicious = re.compile(r"AccountKey=|SharedAccess|sig=|code=|whsec_|DefaultEndpointsProtocol", re.IGNORECASE)
    named = re.compile(r"KEY|SECRET|PASSWORD|CONNECTION_?STRING|TOKEN|SAS", re.IGNORECASE)
    references = {name for name, value in given(variant).items() if value.startswith("@Microsoft.KeyVault(")}
    # The key of the first says only where telemetry belongs; sending it takes a token (DisableLocalAuth).
    known = {"APPLICATIONINSIGHTS_CONNECTION_STRING", "TOKEN_PRICES", *references}

    assert {name for name, value in given(variant).items() if value and named.search(name)} - known == set()
    assert [name for name, value in given(variant).items() if suspicious.search(value)] == []
    outputs = deployed(variant).outputs
    assert [name for name, value in outputs.items() if suspicious.search(value)] == []
    assert [name for name in outputs if named.search(name)] == ["KEY_VAULT_NAME"]


def test_keys_are_read_in_one_place_that_hands_them_to_nobody() -> None:
    reading = [path.name for path in sorted(INFRA.rglob("*.bicep")) if re.search(r"\blist[A-Z]\w*\(", path.read_text())]
    found = Deployment(
        INFRA / "upload-subscription.bicep", {"siteName": "s", "systemTopicName": "t", "storageAccountName": "a"}
    ).run()

    assert reading == ["upload-subscription.bicep"]
    assert found.outputs == {}
    assert sum(TRIGGER_KEY in json.dumps(one.body) for one in found.resources) == 1


def test_the_deployments_of_three_regions_stand_in_for_each_other() -> None:
    read = app_settings.read(as_the_app_sees_them("three regions")).deployments

    assert [(one.name, one.region, one.priority) for one in read] == [
        ("gpt-image-2", "westus3", 0),
        ("gpt-image-2-uaenorth", "uaenorth", 1),
        ("gpt-image-2-polandcentral", "polandcentral", 2),
    ]
    assert {one.model for one in read} == {one.deployment for one in read} == {"gpt-image-2"}
    assert {one.requests_per_minute for one in read} == {60}
    accounts = {one.name for one in deployed("three regions").of_type("Microsoft.CognitiveServices/accounts")}
    assert {one.endpoint for one in read} == {f"https://{name}.openai.azure.com" for name in accounts}


def test_an_existing_deployment_is_called_and_none_is_made() -> None:
    read = app_settings.read(as_the_app_sees_them("existing deployment")).deployments
    roles = deployed("existing deployment").of_type("Microsoft.Authorization/roleAssignments")

    assert [(one.name, one.endpoint, one.model) for one in read] == [
        ("pictures", "https://ours.openai.azure.com", "gpt-image-1.5")
    ]
    assert deployed("existing deployment").of_type("Microsoft.CognitiveServices/accounts") == []
    assert [one.at("scope") for one in roles if one.file == "existing-model.bicep"] == [
        VARIANTS["existing deployment"]["existingOpenAiResourceId"]
    ]
    private = app_settings.read(as_the_app_sees_them("existing deployment, private")).deployments
    assert [one.endpoint for one in private] == ["https://gateway.example.com"]


@pytest.mark.parametrize(
    ("variant", "hosts", "reference"),
    [("as it comes", (), ""), ("everything set", ("hooks.example.com",), "/secrets/callback-signing-key)")],
)
def test_a_signing_key_is_asked_for_only_where_callbacks_are_allowed(
    variant: str, hosts: tuple[str, ...], reference: str
) -> None:
    assert app_settings.read(as_the_app_sees_them(variant)).callback_hosts == hosts
    assert given(variant)["CALLBACK_SIGNING_KEY"].endswith(reference)
    assert deployed(variant).one("Microsoft.Web/sites").at("properties.keyVaultReferenceIdentity")


def test_the_key_that_the_app_refers_to_is_the_one_that_the_hook_stores() -> None:
    stored = Deployment(INFRA / "callback-key.bicep", {"vaultName": "v", "key": "k" * 40}).run()
    name = stored.one("Microsoft.KeyVault/vaults/secrets").name

    assert f"/secrets/{name})" in given("everything set")["CALLBACK_SIGNING_KEY"]
    for script in ("postprovision.sh", "postprovision.ps1"):
        assert re.search(rf"secret ?= ?'?{name}\b", (INFRA / "hooks" / script).read_text())


@pytest.mark.parametrize(("variant", "level"), [("as it comes", "function"), ("everything set", "anonymous")])
def test_sign_in_takes_the_place_of_keys_and_lets_callers_through_to_the_app(variant: str, level: str) -> None:
    sign_in: list[dict[str, Any]] = [
        one.body["properties"]
        for one in deployed(variant).of_type("Microsoft.Web/sites/config")
        if one.name == "authsettingsV2"
    ]

    assert given(variant)["HTTP_AUTH_LEVEL"] == level
    assert len(sign_in) == (level == "anonymous")
    for found in sign_in:
        entra = found["identityProviders"]["azureActiveDirectory"]
        assert found["globalValidation"] == {
            "requireAuthentication": False,
            "unauthenticatedClientAction": "AllowAnonymous",
        }
        assert entra["registration"]["clientSecretSettingName"] == "OVERRIDE_USE_MI_FIC_ASSERTION_CLIENTID"
        assert entra["validation"]["defaultAuthorizationPolicy"] == {"allowedApplications": ["one", "two"]}
        assert given(variant)["OVERRIDE_USE_MI_FIC_ASSERTION_CLIENTID"] == given(variant)["AZURE_CLIENT_ID"]


@every_way
def test_what_model_a_deployment_is_of_is_always_said(variant: str) -> None:
    """So what the app takes for granted without it, gpt-image-1, counts for nothing here."""
    named = [one["model"] for one in json.loads(given(variant)["DEPLOYMENTS"])]

    assert named
    assert set(named) == {VARIANTS[variant].get("modelName", "gpt-image-2")}


def test_an_existing_deployment_has_the_models_name_unless_another_is_said() -> None:
    account = VARIANTS["existing deployment"]["existingOpenAiResourceId"]
    asked = {"environmentName": "demo", "location": "westeurope", "existingOpenAiResourceId": account}
    made = Deployment(INFRA / "main.bicep", asked).run()
    settings = next(one for one in made.of_type("Microsoft.Web/sites/config") if one.name == "appsettings")
    (listed,) = json.loads(settings.at("properties.DEPLOYMENTS"))

    assert listed["name"] == listed["deployment"] == listed["model"] == "gpt-image-2"


def test_prices_of_the_operators_own_reach_the_app() -> None:
    table = app_settings.read(as_the_app_sees_them("everything set")).token_prices

    assert table is not None
    assert prices.parse(table).currency == "EUR"
    assert app_settings.read(as_the_app_sees_them("as it comes")).token_prices is None


def test_settings_that_are_named_in_additional_settings_win() -> None:
    assert app_settings.read(as_the_app_sees_them("everything set")).max_prompt_chars == 8000


def test_no_file_of_infra_holds_what_looks_like_a_secret() -> None:
    looks = re.compile(r"AccountKey=\w|eyJ[\w-]{20,}|whsec_[A-Za-z0-9+/]{16,}|sig=[\w%]{20,}|BEGIN [A-Z ]*PRIVATE KEY")
    files = [path for path in (*INFRA.rglob("*"), ROOT / "azure.yaml") if path.is_file()]

    assert [path.name for path in files if looks.search(Path(path).read_text(errors="ignore"))] == []
