"""Alerts and the workbook: they ask for what the app writes, and for all that an operator has to know."""

from __future__ import annotations

import json
import re

import pytest

from shared.errors import CODES
from tests.infra.bicep_deployment import Deployed
from tests.infra.reference import INFRA, ROOT, bindings, deployed


def alerts(variant: str = "as it comes") -> dict[str, Deployed]:
    found = deployed(variant).of_type("Microsoft.Insights/scheduledQueryRules")
    return {one.at("properties.displayName").removeprefix("Darkroom: "): one for one in found}


def query(name: str) -> str:
    text: str = alerts()[name].at("properties.criteria")["allOf"][0]["query"]
    return text


def test_every_query_is_an_alert() -> None:
    assert {path.stem for path in (INFRA / "queries").glob("*.kql")} == set(alerts())


def test_an_alert_names_the_day_the_model_is_retired() -> None:
    assert "todatetime('2027-04-21')" in query("model-retires")
    assert "gpt-image-2 is retired on 2027-04-21" in alerts()["model-retires"].at("properties.description")
    assert deployed().outputs["MODEL_RETIRES_ON"] == "2027-04-21"


def test_dead_letters_of_both_topics_are_told() -> None:
    told = deployed().of_type("Microsoft.Insights/metricAlerts")
    topics = {
        deployed().one(f"Microsoft.EventGrid/{kind}").id: f"Microsoft.EventGrid/{kind}"
        for kind in ("topics", "systemTopics")
    }

    assert {one.at("properties.scopes")[0]: one.at("properties.targetResourceType") for one in told} == topics
    assert {one.at("properties.criteria")["allOf"][0]["metricName"] for one in told} == {"DeadLetteredCount"}


@pytest.mark.parametrize(("variant", "receivers"), [("as it comes", 0), ("everything set", 1)])
def test_alerts_go_to_the_mail_address_where_there_is_one(variant: str, receivers: int) -> None:
    told = deployed(variant).of_type("Microsoft.Insights/metricAlerts")

    assert [len(one.at("properties.actions")) for one in told] == [receivers] * 2
    assert {len(one.at("properties.actions.actionGroups")) for one in alerts(variant).values()} == {receivers}
    assert len(deployed(variant).of_type("Microsoft.Insights/actionGroups")) == receivers


def test_the_poison_alert_names_every_function_of_a_poison_queue() -> None:
    named = set(re.findall(r"'(\w+)'", query("poison")))

    assert named == {name for name, found in bindings().items() if found[0].get("queueName", "").endswith("-poison")}


def test_codes_that_an_alert_counts_are_codes_of_the_app() -> None:
    counted = re.search(r"Code in \((.*)\)", query("jobs-failed"))

    assert counted is not None
    assert set(re.findall(r"'(\w+)'", counted[1])) <= set(CODES)


@pytest.mark.parametrize(
    ("written", "asked"),
    [
        ('"job %s ended: %s%s"', " ended: "),
        ('"job %s, call %s on %s: %s, %s"', ", call "),
        ("was not taken (%s)", " was not taken ("),
        ('is given up: %s"', " is given up: "),
        ("is run by nobody", " is run by nobody"),
        ("DEPLOYMENT_OUT = auto()", "DEPLOYMENT_OUT"),
    ],
)
def test_what_queries_look_for_is_what_the_app_writes(written: str, asked: str) -> None:
    app = "".join(path.read_text() for path in (ROOT / "shared" / "pipeline").glob("*.py"))
    queries = "".join(path.read_text() for path in (INFRA / "queries").glob("*.kql"))

    assert written in app
    assert asked in queries + (INFRA / "workbook.json").read_text()


def workbook_queries() -> dict[str, str]:
    items = json.loads((INFRA / "workbook.json").read_text())["items"]
    return {item["name"]: item["content"]["query"] for item in items if "query" in item["content"]}


def test_the_workbook_shows_the_metrics_that_operators_ask_for_first() -> None:
    """As docs/telemetry.md asks for them; tests/stack/test_queries.py runs these over what the app emits."""
    page = re.findall(r"```kusto\n(.*?)```", (ROOT / "docs" / "telemetry.md").read_text(), re.DOTALL)
    asked = {"\n".join(line for line in query.splitlines() if not line.startswith("//")) for query in page}

    assert len(asked) >= 5
    assert asked <= set(workbook_queries().values())


def test_no_two_parts_of_the_workbook_have_one_name() -> None:
    items = json.loads((INFRA / "workbook.json").read_text())["items"]

    assert len({item["name"] for item in items}) == len(items)


def test_the_workbook_looks_at_this_deployments_logs() -> None:
    workbook = deployed().one("Microsoft.Insights/workbooks")
    shown = json.loads(workbook.at("properties.serializedData"))
    functions = {name for query in workbook_queries().values() for name in re.findall(r"Name == '(\w+)'", query)}

    assert shown["fallbackResourceIds"] == [deployed().one("Microsoft.OperationalInsights/workspaces").id]
    assert workbook.at("properties.sourceId") in shown["fallbackResourceIds"]
    assert functions <= set(bindings())
    assert sum(item["type"] == 3 for item in shown["items"]) >= 5
