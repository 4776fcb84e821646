"""What is made, and with which rights: the app's own names, tokens instead of keys, no role without a reason."""

from __future__ import annotations

import json
import re
from datetime import date, timedelta
from typing import Any

import pytest

from local import infrastructure
from shared import settings as app_settings
from shared.images import lifecycle
from tests.infra.bicep_deployment import Deployed, Deployment
from tests.infra.bicep_syntax import parse
from tests.infra.reference import INFRA, ROLES, ROOT, VARIANTS, bindings, deployed

every_way = pytest.mark.parametrize("variant", VARIANTS)
_ROLE = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def names(kind: str, variant: str = "as it comes") -> set[str]:
    return {one.name for one in deployed(variant).of_type(kind)}


# -- names


def test_containers_queues_and_tables_are_those_of_the_local_stack() -> None:
    account = "Microsoft.Storage/storageAccounts"
    containers = names(f"{account}/blobServices/containers")
    package = {name for name in containers if name.startswith("app-package-")}

    assert len(package) == 1
    assert containers - package - {"dead-letters"} == set(infrastructure.CONTAINERS)
    assert names(f"{account}/queueServices/queues") == set(infrastructure.QUEUES)
    assert names(f"{account}/tableServices/tables") == set(infrastructure.TABLES)


def test_every_queue_that_a_function_waits_for_is_made() -> None:
    waited_for = {one["queueName"] for found in bindings().values() for one in found if "queueName" in one}

    assert waited_for <= names("Microsoft.Storage/storageAccounts/queueServices/queues")


def test_requests_may_not_name_the_package_container_as_a_source() -> None:
    never = re.search(r"_NEVER_READABLE = \((.*)\)", (ROOT / "shared" / "pipeline" / "accept.py").read_text())
    package = deployed().one("Microsoft.Web/sites").at("properties.functionAppConfig.deployment.storage.value")

    assert never is not None
    assert package.rsplit("/", 1)[1].startswith(tuple(re.findall(r'"([^"]+)"', never[1])))


# -- uploads


def subscription(way: str) -> Deployed:
    """The subscription of uploads that the postdeploy hook makes."""
    names = {"systemTopicName": "t", "storageAccountName": "a"}
    by_app = Deployment(INFRA / "upload-subscription.bicep", names | {"siteName": "s"})
    by_queue = Deployment(INFRA / "upload-subscription-by-queue.bicep", names)
    return (by_queue if way == "queue" else by_app).run().one("Microsoft.EventGrid/systemTopics/eventSubscriptions")


@pytest.mark.parametrize("way", ["webhook", "queue"])
def test_uploads_are_announced_whole_tried_for_a_day_and_kept_when_that_fails(way: str) -> None:
    found = subscription(way)

    assert found.at("properties.filter") == {
        "subjectBeginsWith": "/blobServices/default/containers/uploads/",
        "includedEventTypes": ["Microsoft.Storage.BlobCreated"],
    }
    assert found.at("properties.retryPolicy") == {"maxDeliveryAttempts": 30, "eventTimeToLiveInMinutes": 1440}
    assert found.at("properties.eventDeliverySchema") == "EventGridSchema"
    dead = found.at("properties.deadLetterWithResourceIdentity")
    assert dead["identity"] == {"type": "SystemAssigned"}
    container = dead["deadLetterDestination"]["properties"]["blobContainerName"]
    assert container in names("Microsoft.Storage/storageAccounts/blobServices/containers")


def test_the_webhook_names_the_blob_trigger_as_it_is_indexed() -> None:
    url = subscription("webhook").at("properties.destination.properties.endpointUrl")
    triggers = [name for name, found in bindings().items() if found[0]["type"] == "blobTrigger"]

    assert triggers == ["announce_upload"]
    assert url.startswith("https://s-a1b2.somewhere-01.azurewebsites.net/runtime/webhooks/blobs?")
    assert f"functionName=Host.Functions.{triggers[0]}&code=" in url
    assert bindings()[triggers[0]][0]["path"].startswith("uploads/")


def test_without_a_webhook_events_go_to_the_queue_that_looks_at_uploads() -> None:
    delivery = subscription("queue").at("properties.deliveryWithResourceIdentity")

    assert delivery["identity"] == {"type": "SystemAssigned"}
    assert delivery["destination"]["endpointType"] == "StorageQueue"
    assert bindings()["look_at_upload"][0]["queueName"] == delivery["destination"]["properties"]["queueName"]


@every_way
def test_event_grid_may_send_to_the_queue_where_that_is_its_way_and_always_keep_dead_letters(variant: str) -> None:
    given = {
        ROLES[one.at("properties.roleDefinitionId")[-36:]]: one.at("scope")
        for one in deployed(variant).of_type("Microsoft.Authorization/roleAssignments")
        if "evgst-" in one.at("properties.principalId")
    }
    by_queue = VARIANTS[variant].get("privateNetwork") or VARIANTS[variant].get("uploadEvents") == "queue"

    assert deployed(variant).outputs["UPLOAD_EVENTS_BY"] == ("queue" if by_queue else "webhook")
    assert given.keys() == {"Storage Blob Data Contributor"} | (
        {"Storage Queue Data Message Sender"} if by_queue else set()
    )
    assert not by_queue or given["Storage Queue Data Message Sender"].endswith("/queues/image-uploads")


@every_way
def test_subscriptions_are_left_to_the_hook_which_waits_for_rights_and_for_the_app(variant: str) -> None:
    assert deployed(variant).of_type("Microsoft.EventGrid/systemTopics/eventSubscriptions") == []


# -- tokens, not keys


@every_way
def test_no_service_takes_a_key(variant: str) -> None:
    found = deployed(variant)
    checks: dict[str, dict[str, Any]] = {
        "Microsoft.Storage/storageAccounts": {"allowSharedKeyAccess": False, "allowBlobPublicAccess": False},
        "Microsoft.CognitiveServices/accounts": {"disableLocalAuth": True},
        "Microsoft.EventGrid/topics": {"disableLocalAuth": True, "inputSchema": "CloudEventSchemaV1_0"},
        "Microsoft.Insights/components": {"DisableLocalAuth": True},
        "Microsoft.KeyVault/vaults": {"enableRbacAuthorization": True},
        "Microsoft.Web/sites": {"httpsOnly": True, "functionsRuntimeAdminIsolationEnabled": True},
        "Microsoft.Web/sites/basicPublishingCredentialsPolicies": {"allow": False},
    }
    for kind, wanted in checks.items():
        for one in found.of_type(kind):
            assert {name: one.at(f"properties.{name}") for name in wanted} == wanted, one.symbol
    storage = found.one("Microsoft.Web/sites").at("properties.functionAppConfig.deployment.storage")
    assert storage["authentication"]["type"] == "UserAssignedIdentity"


@every_way
def test_every_role_is_a_known_one_given_to_an_identity_of_this_deployment(variant: str) -> None:
    given = deployed(variant).of_type("Microsoft.Authorization/roleAssignments")

    assert given
    for one in given:
        role = one.at("properties.roleDefinitionId").rsplit("/", 1)[1]
        assert role in ROLES, one.symbol
        assert one.at("properties.principalType") == "ServicePrincipal"
        assert one.at("properties.principalId").startswith(("principal of id-", "principal of evgst-"))
        assert one.at("scope"), f"{one.symbol} would be given for the whole resource group"


def test_nobody_is_given_more_than_is_listed_here() -> None:
    given = {
        (one.at("properties.principalId").split()[-1].split("-")[0], ROLES[one.at("properties.roleDefinitionId")[-36:]])
        for variant in VARIANTS
        for one in deployed(variant).of_type("Microsoft.Authorization/roleAssignments")
    }

    assert given == {
        ("id", "Storage Blob Data Owner"),
        ("id", "Storage Queue Data Contributor"),
        ("id", "Storage Table Data Contributor"),
        ("id", "Monitoring Metrics Publisher"),
        ("id", "EventGrid Data Sender"),
        ("id", "Cognitive Services OpenAI User"),
        ("id", "Key Vault Secrets User"),
        ("id", "Key Vault Crypto User"),
        ("id", "Key Vault Reader"),
        ("evgst", "Storage Blob Data Contributor"),
        ("evgst", "Storage Queue Data Message Sender"),
    }


def test_every_role_is_explained_above_it_by_its_name() -> None:
    for path in INFRA.rglob("*.bicep"):
        lines = path.read_text().splitlines()
        for one in parse(path).values():
            if one.kind != "resource" or one.type != "Microsoft.Authorization/roleAssignments":
                continue
            above = one.line - 2
            while lines[above].startswith("//"):
                above -= 1
            comment = " ".join(lines[above + 1 : one.line - 1])
            role = ROLES[_ROLE.findall(path.read_text().split(f"resource {one.name} ")[1])[0]]
            assert comment.startswith(f"// {role}: "), f"{path.name}: {one.name}"


@every_way
def test_the_role_that_a_name_is_made_of_is_the_role_that_is_given(variant: str) -> None:
    for path in INFRA.rglob("*.bicep"):
        for block in path.read_text().split("\nresource ")[1:]:
            if "roleAssignments@" in block:
                assert len(set(_ROLE.findall(block.split("\n}\n")[0]))) == 1, path.name


# -- network


@pytest.mark.parametrize("variant", ["private", "existing deployment, private"])
def test_in_a_private_network_all_that_the_app_talks_to_has_an_endpoint_and_a_zone(variant: str) -> None:
    found = deployed(variant)
    groups = [
        one.at("properties.privateLinkServiceConnections")[0]["properties"]["groupIds"][0]
        for one in found.of_type("Microsoft.Network/privateEndpoints")
    ]
    zones = names("Microsoft.Network/privateDnsZones", variant)

    wanted = ["account", "blob", "queue", "sites", "table", "topic", "vault"]
    assert sorted(groups) == [one for one in wanted if one != "sites" or variant == "private"]
    assert len(found.of_type("Microsoft.Network/privateEndpoints/privateDnsZoneGroups")) == len(groups)
    assert len(found.of_type("Microsoft.Network/privateDnsZones/virtualNetworkLinks")) == len(zones) == len(groups)
    assert {f"privatelink.{part}.core.windows.net" for part in ("blob", "queue", "table")} <= zones
    assert found.one("Microsoft.Web/sites").at("properties.virtualNetworkSubnetId").endswith("/subnets/app")


def test_in_a_private_network_nothing_is_open_but_what_event_grid_needs() -> None:
    found = deployed("private")
    account = found.one("Microsoft.Storage/storageAccounts")

    for kind in ("CognitiveServices/accounts", "EventGrid/topics", "KeyVault/vaults", "Web/sites"):
        for one in found.of_type(f"Microsoft.{kind}"):
            assert one.at("properties.publicNetworkAccess") == "Disabled", kind
    assert account.at("properties.networkAcls") == {"defaultAction": "Deny", "bypass": "AzureServices"}


def test_each_regions_account_has_its_endpoint_in_the_apps_region() -> None:
    given = {
        "environmentName": "demo",
        "location": "westeurope",
        "privateNetwork": True,
        "modelRegions": "westus3,uaenorth",
    }
    found = Deployment(INFRA / "main.bicep", given).run()
    accounts = {one.id: one.at("location") for one in found.of_type("Microsoft.CognitiveServices/accounts")}
    endpoints = {
        one.at("properties.privateLinkServiceConnections")[0]["properties"]["privateLinkServiceId"]: one.at("location")
        for one in found.of_type("Microsoft.Network/privateEndpoints")
        if one.name.startswith("pe-model-")
    }

    assert set(accounts.values()) == {"westus3", "uaenorth"}
    assert endpoints == dict.fromkeys(accounts, "westeurope")


# -- what is kept


def rules(variant: str) -> dict[str, Any]:
    policy = deployed(variant).one("Microsoft.Storage/storageAccounts/managementPolicies").at("properties.policy")
    return {one["name"]: one["definition"] for one in policy["rules"]}


def test_everything_is_kept_unless_retention_is_asked_for() -> None:
    found = rules("as it comes")

    assert found.keys() == {"results-become-cool", "dead-letters-go"}
    assert found["results-become-cool"]["filters"]["prefixMatch"] == ["results/"]
    assert found["results-become-cool"]["actions"].keys() == {"baseBlob"}
    assert found["results-become-cool"]["actions"]["baseBlob"].keys() == {"tierToCool"}


def test_storage_removes_only_what_the_app_had_two_weeks_to_remove() -> None:
    found = rules("everything set")

    assert found.keys() == {"retention", "dead-letters-go"}
    assert found["retention"]["filters"]["prefixMatch"] == [f"{name}/" for name in infrastructure.CONTAINERS]
    assert found["retention"]["actions"] == {"baseBlob": {"delete": {"daysAfterModificationGreaterThan": 30 + 14}}}


# -- the model


@pytest.mark.parametrize("variant", ["as it comes", "three regions", "a model without a version"])
def test_the_model_is_deployed_by_name_version_and_capacity(variant: str) -> None:
    wanted = lifecycle._models()[VARIANTS[variant].get("modelName", "gpt-image-2")]
    for one in deployed(variant).of_type("Microsoft.CognitiveServices/accounts/deployments"):
        model = one.at("properties.model")
        assert model["format"] == "OpenAI"
        assert model.get("version", "") == wanted["version"]
        assert one.at("sku.name") == "GlobalStandard"
        assert one.at("sku.capacity") * 3 >= VARIANTS[variant].get(
            "modelRequestsPerMinute", wanted["requests_per_minute"]
        )


def checked() -> date:
    """The day the table of retirements was compared with its sources.

    Not today: the claim is about the table that is checked in. Later on the alert `model-retires` and health tell.
    """
    table: dict[str, str] = json.loads((ROOT / "shared" / "images" / "models.json").read_text())
    return date.fromisoformat(table["checked"])


def test_the_default_model_had_ninety_days_left_when_the_table_was_checked() -> None:
    model = deployed().of_type("Microsoft.CognitiveServices/accounts/deployments")[0].at("properties.model.name")
    retires = lifecycle.retires_on(model)

    assert retires is not None
    assert retires - checked() >= timedelta(days=90)


def test_what_the_app_itself_takes_for_granted_is_a_model_that_was_retired_by_then() -> None:
    """docs/deploy.md says so; each deployment of `infra/` names its model, so that it counts for nothing there."""
    (deployment,) = app_settings.read({"AZURE_OPENAI_ENDPOINT": "https://example.openai.azure.com"}).deployments
    retires = lifecycle.retires_on(deployment.model)

    assert retires is not None
    assert retires < checked()
