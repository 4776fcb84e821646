"""The Bicep files are Bicep, and what they say can be deployed in each way that docs/deploy.md names."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pycep
import pytest
import tree_sitter_bicep
from tree_sitter import Language, Parser

from tests.infra.bicep_deployment import Deployment, DeploymentError
from tests.infra.bicep_syntax import UnknownSyntaxError, parse, tokens
from tests.infra.reference import INFRA, VARIANTS, deployed

FILES = sorted(INFRA.rglob("*.bicep"))
OF_HOOKS = ("callback-key.bicep", "upload-subscription.bicep", "upload-subscription-by-queue.bicep")
by_name = pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)


@pytest.fixture(scope="module")
def others_parser() -> pycep.BicepParser:
    return pycep.BicepParser()


@by_name
def test_somebody_elses_parser_reads_every_file(others_parser: pycep.BicepParser, path: Path) -> None:
    read = others_parser.parse(text=path.read_text())
    ours = parse(path)

    kinds = {"param": "parameters", "var": "variables", "resource": "resources", "module": "modules"}
    for kind, theirs in kinds.items():
        assert {name for name, one in ours.items() if one.kind == kind} == set(read.get(theirs, {}))


@by_name
def test_the_grammar_that_editors_use_reads_every_file(path: Path) -> None:
    read = Parser(Language(tree_sitter_bicep.language())).parse(path.read_bytes())

    assert not read.root_node.has_error


@by_name
def test_nothing_is_declared_that_is_not_used(path: Path) -> None:
    text = "\n".join(line for line in path.read_text().splitlines() if not line.lstrip().startswith("//"))
    declared = [one.name for one in parse(path).values() if one.kind in ("param", "var") or one.existing]

    assert [name for name in declared if len(re.findall(rf"\b{name}\b", text)) < 2] == []


def test_every_file_is_reached_from_azd_or_a_hook() -> None:
    entries = [INFRA / name for name in ("main.bicep", *OF_HOOKS)]
    entries += sorted((INFRA / "workflows").glob("*.bicep"))  # each is somebody's own to deploy
    reached: set[Path] = set()
    while entries:
        path = entries.pop().resolve()
        reached.add(path)
        entries += [path.parent / one.type for one in parse(path).values() if one.kind == "module"]

    assert reached == set(FILES)


def test_modules_are_files_of_this_folder_so_that_no_registry_is_asked() -> None:
    modules = [one.type for path in FILES for one in parse(path).values() if one.kind == "module"]

    assert modules
    assert all(name.endswith(".bicep") and ":" not in name for name in modules)


@pytest.mark.parametrize("variant", VARIANTS)
def test_each_way_of_deploying_holds_together(variant: str) -> None:
    found = deployed(variant)
    asked_for = [one.id for one in found.resources if not one.existing]

    assert len(asked_for) == len(set(asked_for)), "a resource is asked for twice"
    assert all(re.fullmatch(r"20\d\d-\d\d-\d\d(-preview)?", one.version) for one in found.resources)


def test_the_ways_of_deploying_make_every_resource_at_least_once() -> None:
    made = {(one.file, one.symbol) for variant in VARIANTS for one in deployed(variant).resources}
    declared = {
        (path.name, one.name)
        for path in FILES
        if path.name not in OF_HOOKS and path.parent.name != "workflows"
        for one in parse(path).values()
        if one.kind == "resource"
    }

    assert made == declared


def test_azd_gives_every_param_of_main_and_no_other() -> None:
    given = json.loads((INFRA / "main.parameters.json").read_text())["parameters"]
    declared = {name: one for name, one in parse(INFRA / "main.bicep").items() if one.kind == "param"}

    assert given.keys() == declared.keys()


def test_the_defaults_that_azd_gives_are_those_of_main() -> None:
    given = json.loads((INFRA / "main.parameters.json").read_text())["parameters"]
    for name, declared in parse(INFRA / "main.bicep").items():
        if declared.kind != "param" or declared.value is None or declared.type == "object":
            continue
        default = "".join(declared.value[1:]) if declared.value[0] == "string" else declared.value[1]
        shown = str(default).lower() if isinstance(default, bool) else str(default)
        match = re.fullmatch(r"\$\{[A-Z0-9_]+=(.*)\}", given[name]["value"])
        assert match is not None, name
        assert match[1] == shown, name


def test_every_resource_carries_the_environments_name_where_tags_are_taken() -> None:
    without = {
        *("Microsoft.Authorization/roleAssignments", "Microsoft.Insights/diagnosticSettings"),
        "Microsoft.Network/privateEndpoints/privateDnsZoneGroups",
    }
    tagged = [
        one
        for variant in VARIANTS
        for one in deployed(variant).resources
        if not one.existing and one.type not in without and "parent" not in one.type
    ]
    top = [one for one in tagged if one.type.count("/") == 1]

    assert [one.symbol for one in top if one.at("tags.azd-env-name") != "demo"] == []


def test_azd_finds_the_app_by_its_service_name() -> None:
    assert deployed().one("Microsoft.Web/sites").at("tags.azd-service-name") == "api"


# https://learn.microsoft.com/azure/azure-resource-manager/management/resource-name-rules; but 32 for sites, since hosts
# whose first 32 characters agree share their keys.
LENGTHS = {
    "Microsoft.CognitiveServices/accounts": (2, 64, r"[a-zA-Z0-9][\w.-]*"),
    "Microsoft.CognitiveServices/accounts/deployments": (2, 64, r"[\w.-]+"),
    "Microsoft.EventGrid/systemTopics": (3, 128, r"[a-zA-Z0-9-]+"),
    "Microsoft.EventGrid/topics": (3, 50, r"[a-zA-Z0-9-]+"),
    "Microsoft.Insights/metricAlerts": (1, 260, r"[^*#&+:<>?@%{}\\/|]+"),
    "Microsoft.Insights/scheduledQueryRules": (1, 260, r"[^*#&+:<>?@%{}\\/|]+"),
    "Microsoft.KeyVault/vaults": (3, 24, r"[a-zA-Z][a-zA-Z0-9-]*[a-zA-Z0-9]"),
    "Microsoft.ManagedIdentity/userAssignedIdentities": (3, 128, r"[a-zA-Z0-9][\w-]*"),
    "Microsoft.Network/privateEndpoints": (2, 64, r"[a-zA-Z0-9][\w.-]*\w"),
    "Microsoft.OperationalInsights/workspaces": (4, 63, r"[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]"),
    "Microsoft.Resources/resourceGroups": (1, 90, r"[\w().-]*[\w()-]"),
    "Microsoft.Storage/storageAccounts": (3, 24, r"[a-z0-9]+"),
    "Microsoft.Storage/storageAccounts/blobServices/containers": (3, 63, r"[a-z0-9]([a-z0-9]|-[a-z0-9])*"),
    "Microsoft.Storage/storageAccounts/queueServices/queues": (3, 63, r"[a-z0-9]([a-z0-9]|-[a-z0-9])*"),
    "Microsoft.Storage/storageAccounts/tableServices/tables": (3, 63, r"[a-zA-Z][a-zA-Z0-9]*"),
    "Microsoft.Web/serverfarms": (1, 60, r"[\w-]+"),
    "Microsoft.Web/sites": (2, 32, r"[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]"),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_names_are_as_azure_takes_them_however_long_the_environments_is(variant: str) -> None:
    given = {"environmentName": "e" * 40, "location": "germanywestcentral", **VARIANTS[variant]}
    made = [one for one in Deployment(INFRA / "main.bicep", given).run().resources if one.type in LENGTHS]

    assert made
    for one in made:
        shortest, longest, pattern = LENGTHS[one.type]
        assert shortest <= len(one.name) <= longest, one.name
        assert re.fullmatch(pattern, one.name), one.name


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ({"environmentName": "demo"}, "location is not given"),
        ({"environmentName": "demo", "location": "westeurope", "region": "x"}, "no param region"),
        ({"environmentName": "", "location": "westeurope"}, "is not allowed"),
        ({"environmentName": "demo", "location": "westeurope", "instanceMemoryMB": 1024}, "is not allowed"),
        ({"environmentName": "demo", "location": "westeurope", "retentionDays": "30"}, "no int"),
    ],
)
def test_wrong_params_are_refused(given: dict[str, object], wrong: str) -> None:
    with pytest.raises(DeploymentError, match=wrong):
        Deployment(INFRA / "main.bicep", given).run()


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("var a = b\n", "b is not declared"),
        ("output a string = nothing.outputs.b\n", "nothing is not declared"),
        ("var a = made('x')\n", "function made is not known"),
        ("param a string\n", "a is not given"),
        ("output a int = 'text'\n", "no int"),
        ("module a 'other.bicep' = {\n  name: 'a'\n}\n", "param needed is not given"),
        ("module a 'other.bicep' = {\n  name: 'a'\n  params: {\n    odd: 1\n  }\n}\n", "no param odd"),
        (
            (
                "resource a 'Microsoft.Web/sites@2024-04-01' existing = {\n  name: 'a'\n}\n"
                "resource b 'Microsoft.Web/sites@2024-04-01' = {\n  name: a.properties.defaultHostName\n}\n"
            ),
            "not known before the start",
        ),
        (
            (
                "module a 'fine.bicep' = {\n  name: 'a'\n}\n"
                "module b 'fine.bicep' = if (a.outputs.said == 'x') {\n  name: 'b'\n}\n"
            ),
            "not known before the start",
        ),
    ],
)
def test_what_the_compiler_would_refuse_is_found(tmp_path: Path, text: str, wrong: str) -> None:
    (tmp_path / "other.bicep").write_text("param needed string\n")
    (tmp_path / "fine.bicep").write_text("output said string = 'x'\n")
    (tmp_path / "main.bicep").write_text(text)
    with pytest.raises(DeploymentError, match=wrong):
        Deployment(tmp_path / "main.bicep", {}).run()


@pytest.mark.parametrize("text", ["var a = 'x\n", "var a = ~b\n"])
def test_what_is_no_bicep_is_not_read(text: str) -> None:
    with pytest.raises(UnknownSyntaxError):
        tokens(text)
