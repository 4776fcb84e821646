"""The hooks of azd, run with an `az` and a `curl` that only write down what they are asked."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from shared.settings import read
from tests.infra.bicep_deployment import Deployment
from tests.infra.bicep_syntax import parse
from tests.infra.reference import INFRA, bindings, deployed

HOOKS = INFRA / "hooks"

_FAKE = """#!/bin/sh
# One line for each call: the program and its arguments. Answers come from files named after what is asked.
printf '%s' "{program}" >>"$FAKE/calls"
for argument in "$@"; do printf ' %s' "$argument" >>"$FAKE/calls"; done
printf '\\n' >>"$FAKE/calls"
case "{program} $*" in
  *"account show"*) answer=account ;;
  *"keys list"*) answer=key ;;
  *"function show"*) answer=function ;;
  *"event-subscription show"*) answer=confirmed ;;
  *"event-subscription list"*) answer=former ;;
  *"event-subscription delete"*) answer=deleted ;;
  *"deployment group create"*) answer=deployment
    for argument in "$@"; do case "$argument" in @*) cp "${{argument#@}}" "$FAKE/parameters"
      stat -c %a "${{argument#@}}" >"$FAKE/mode" ;; esac; done ;;
  *"rest --method get"*) answer=secrets ;;
  *"rest --method post"*) answer=refresh ;;
  curl*) answer=health ;;
  *) echo "nobody asks this: $*" >&2; exit 64 ;;
esac
# A file of several lines is a row of answers; the last one stays.
line=$(head -n 1 "$FAKE/$answer")
[ "$(wc -l <"$FAKE/$answer")" -gt 1 ] && sed -i 1d "$FAKE/$answer"
case "$line" in
  fail*) printf '%s\\n' "${{line#fail }}" >&2; exit 1 ;;
  "") ;;
  *) printf '%s\\n' "$line" ;;
esac
"""


@dataclass(slots=True)
class Cloud:
    """What the programs answer, and what they were asked."""

    folder: Path
    environ: dict[str, str] = field(default_factory=dict)

    def answers(self, **lines: str) -> None:
        for name, line in lines.items():
            (self.folder / name).write_text(line + "\n")

    def without(self, program: str) -> None:
        (self.folder / "bin" / program).unlink()

    @property
    def calls(self) -> list[str]:
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def asked(self) -> list[str]:
        """The calls by their first words, in order."""
        words = [re.match(r"(?:\S+ )*?(?=-)|\S.*", call) for call in self.calls]
        return [match[0].strip() for match in words if match]

    def run(self, hook: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", str(HOOKS / hook)],
            cwd=self.folder,
            env={**self.environ, **environ},
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )


@pytest.fixture
def cloud(tmp_path: Path) -> Cloud:
    tools = tmp_path / "bin"
    tools.mkdir()
    for program in ("az", "curl"):
        (tools / program).write_text(_FAKE.format(program=program))
        (tools / program).chmod(stat.S_IRWXU)
    for needed in ("sh", "dirname", "head", "base64", "tr", "mktemp", "rm", "cat", "sed", "wc", "cp", "stat", "sleep"):
        found = shutil.which(needed)
        assert found is not None
        (tools / needed).symlink_to(found)
    given = {name: str(value) for name, value in deployed("everything set").outputs.items()}
    environ = given | {
        "PATH": str(tools),
        "FAKE": str(tmp_path),
        "AZURE_SUBSCRIPTION_ID": "s-1",
        "UPLOAD_EVENTS_BY": "webhook",
        "DARKROOM_HOOK_TRIES": "3",
        "DARKROOM_HOOK_DEPLOYMENTS": "3",
        "DARKROOM_HOOK_SECONDS": "0",
        "TMPDIR": str(tmp_path),
    }
    cloud = Cloud(tmp_path, environ)
    cloud.answers(account="", key="true", function="true", confirmed="true", deployment="", health="")
    cloud.answers(secrets="0", refresh="", former="0", deleted="")
    return cloud


# -- postdeploy


def test_uploads_are_subscribed_once_the_app_answers_and_its_key_is_there(cloud: Cloud) -> None:
    done = cloud.run("postdeploy.sh")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"postdeploy: uploads are announced to {cloud.environ['SERVICE_API_HOST']}.\n"
    assert cloud.asked == [
        "az account show",
        "curl",
        "az functionapp function show",
        "az functionapp keys list",
        "az deployment group create",
        "az eventgrid system-topic event-subscription show",
        "az eventgrid system-topic event-subscription list",
    ]


def test_the_app_is_asked_at_its_real_host_name(cloud: Cloud) -> None:
    cloud.run("postdeploy.sh")
    asked = next(call for call in cloud.calls if call.startswith("curl"))

    assert asked.endswith(f" https://{cloud.environ['SERVICE_API_HOST']}/api/health")
    assert "HEAD" not in asked
    assert "-I" not in asked.split()
    assert bindings()["get_health"][0]["route"] == "api/health"


@pytest.mark.parametrize("way", ["webhook", "queue"])
def test_what_is_deployed_is_the_subscription_with_all_it_takes(cloud: Cloud, way: str) -> None:
    cloud.run("postdeploy.sh", UPLOAD_EVENTS_BY=way)
    call = next(call for call in cloud.calls if "deployment group create" in call)
    template = Path(call.split("--template-file ")[1].split()[0])
    given = dict(re.findall(r"(\w+)=(\S+)", call.split("--parameters ")[1]))
    made = Deployment(template.resolve(), given).run()

    assert set(given) == {one.name for one in parse(template).values() if one.kind == "param"}
    assert given.get("functionName", "announce_upload") in bindings()
    shown = next(call for call in cloud.calls if "event-subscription show" in call)
    subscription = made.one("Microsoft.EventGrid/systemTopics/eventSubscriptions")
    assert subscription.at("properties.deliveryWithResourceIdentity" if way == "queue" else "properties.destination")
    assert f"--name {subscription.name} " in shown
    assert f"--system-topic-name {given['systemTopicName']} " in shown
    assert given["systemTopicName"] == deployed().one("Microsoft.EventGrid/systemTopics").name


def test_it_can_be_repeated(cloud: Cloud) -> None:
    first, second = cloud.run("postdeploy.sh"), cloud.run("postdeploy.sh")

    assert (first.returncode, first.stdout) == (second.returncode, second.stdout)
    assert cloud.calls[:7] == cloud.calls[7:]


@pytest.mark.parametrize(
    ("answer", "lines", "program"),
    [
        ("health", "fail\nfail\n", "curl"),
        ("function", "false\nfail\ntrue", "az functionapp function show"),
        ("key", "fail\nfalse\ntrue", "az functionapp keys list"),
        ("deployment", "fail the identity may not yet\nfail the identity may not yet\n", "az deployment group create"),
        ("confirmed", "false\nfalse\ntrue", "az eventgrid system-topic event-subscription show"),
    ],
)
def test_it_waits_for_what_takes_its_time(cloud: Cloud, answer: str, lines: str, program: str) -> None:
    cloud.answers(**{answer: lines})
    done = cloud.run("postdeploy.sh")

    assert done.returncode == 0
    assert cloud.asked.count(program) == 3


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ({"account": "fail"}, "az is not signed in"),
        ({"health": "fail"}, "/api/health does not answer 200"),
        ({"function": "false"}, "no function 'announce_upload'"),
        ({"key": "false"}, "no key 'blobs_extension' yet"),
        ({"deployment": "fail The endpoint was not validated"}, "The endpoint was not validated"),
        ({"confirmed": "false"}, "has not confirmed the subscription 'uploads-to-app'"),
        ({"former": "fail"}, "could not be listed"),
        ({"former": "1", "deleted": "fail"}, "the former subscription 'uploads-to-queue' could not be deleted"),
    ],
)
def test_it_says_what_failed_and_what_to_do(cloud: Cloud, answers: dict[str, str], said: str) -> None:
    cloud.answers(**answers)
    done = cloud.run("postdeploy.sh")

    assert done.returncode == 1
    assert said in done.stderr
    assert "azd hooks run postdeploy" in done.stderr or "azd deploy" in done.stderr
    assert "announced" not in done.stdout


def test_nothing_is_subscribed_while_the_app_does_not_answer(cloud: Cloud) -> None:
    cloud.answers(health="fail")
    cloud.run("postdeploy.sh")

    assert "az deployment group create" not in cloud.asked


def test_a_failure_is_shown_without_the_triggers_key(cloud: Cloud) -> None:
    url = "https://h/runtime/webhooks/blobs?functionName=Host.Functions.announce_upload&code=abc123=="
    cloud.answers(deployment=f"fail Webhook '{url}' did not answer.")
    done = cloud.run("postdeploy.sh")

    assert "did not answer" in done.stderr
    assert "abc123" not in done.stderr + done.stdout


@pytest.mark.parametrize("program", ["az", "curl"])
def test_a_missing_program_is_named(cloud: Cloud, program: str) -> None:
    cloud.without(program)
    done = cloud.run("postdeploy.sh")

    assert done.returncode == 1
    assert f"{program} is not there" in done.stderr


@pytest.mark.parametrize(
    ("hook", "name"),
    [
        ("postdeploy.sh", "SERVICE_API_HOST"),
        ("postdeploy.sh", "UPLOADS_SYSTEM_TOPIC"),
        ("postprovision.sh", "KEY_VAULT_NAME"),
    ],
)
def test_a_missing_value_of_azd_is_named_and_nothing_is_asked(cloud: Cloud, hook: str, name: str) -> None:
    done = cloud.run(hook, **{name: ""})

    assert done.returncode == 1
    assert f"{name} is not set" in done.stderr
    assert cloud.calls == []


def test_by_queue_nothing_is_asked_of_an_app_that_may_not_be_reached(cloud: Cloud) -> None:
    cloud.without("curl")
    done = cloud.run("postdeploy.sh", UPLOAD_EVENTS_BY="queue")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "postdeploy: uploads are announced by queue image-uploads.\n"
    assert cloud.asked == [
        "az account show",
        "az deployment group create",
        "az eventgrid system-topic event-subscription show",
        "az eventgrid system-topic event-subscription list",
    ]


@pytest.mark.parametrize(
    ("way", "former"), [("queue", "uploads-to-app"), ("webhook", "uploads-to-queue")], ids=["to queue", "to webhook"]
)
def test_the_subscription_of_the_way_before_goes_once_the_new_one_is_confirmed(
    cloud: Cloud, way: str, former: str
) -> None:
    cloud.answers(former="1")
    done = cloud.run("postdeploy.sh", UPLOAD_EVENTS_BY=way)

    assert done.returncode == 0
    assert cloud.asked[-1] == "az eventgrid system-topic event-subscription delete"
    assert f" --name {former} " in cloud.calls[-1]
    assert f"name=='{former}'" in cloud.calls[-2]
    assert f"--name {former} " not in "".join(cloud.calls[:-1])


def test_the_way_before_stays_until_the_new_one_is_confirmed(cloud: Cloud) -> None:
    cloud.answers(former="1", confirmed="false")
    done = cloud.run("postdeploy.sh", UPLOAD_EVENTS_BY="queue")

    assert done.returncode == 1
    assert "az eventgrid system-topic event-subscription delete" not in cloud.asked


def test_who_has_no_right_is_told_at_once(cloud: Cloud) -> None:
    cloud.answers(deployment="fail (AuthorizationFailed) The client has no authorization to perform action ...")
    done = cloud.run("postdeploy.sh")

    assert done.returncode == 1
    assert "AuthorizationFailed" in done.stderr
    assert cloud.asked.count("az deployment group create") == 1


# -- postprovision


def test_a_signing_key_is_made_where_callbacks_are_allowed_and_there_is_none(cloud: Cloud) -> None:
    done = cloud.run("postprovision.sh")
    stored = json.loads((cloud.folder / "parameters").read_text())["parameters"]

    assert (done.returncode, done.stderr) == (0, "")
    assert cloud.asked == ["az account show", "az rest", "az deployment group create", "az rest"]
    assert stored["vaultName"]["value"] == cloud.environ["KEY_VAULT_NAME"]
    assert len(read({"CALLBACK_SIGNING_KEY": stored["key"]["value"]}).callback_signing_keys) == 1
    assert (cloud.folder / "mode").read_text().strip() == "600"
    assert f"/sites/{cloud.environ['SERVICE_API_NAME']}/config/configreferences/" in cloud.calls[-1]


def test_the_key_is_shown_nowhere_and_its_file_is_removed(cloud: Cloud) -> None:
    done = cloud.run("postprovision.sh")
    key = json.loads((cloud.folder / "parameters").read_text())["parameters"]["key"]["value"]
    left = [path.name for path in cloud.folder.iterdir() if path.is_dir()]

    assert key not in done.stdout + done.stderr + "".join(cloud.calls)
    assert left == ["bin"]


def test_two_runs_make_two_different_keys_only_where_the_first_was_not_stored(cloud: Cloud) -> None:
    cloud.answers(deployment="fail no right")
    cloud.run("postprovision.sh")
    first = (cloud.folder / "parameters").read_text()
    cloud.answers(deployment="")
    cloud.run("postprovision.sh")

    assert (cloud.folder / "parameters").read_text() != first


def test_a_key_that_is_there_is_kept(cloud: Cloud) -> None:
    cloud.answers(secrets="1")
    done = cloud.run("postprovision.sh")

    assert (done.returncode, done.stdout) == (0, "postprovision: the callback signing key is there already.\n")
    assert "az deployment group create" not in cloud.asked


def test_without_callbacks_no_key_is_made(cloud: Cloud) -> None:
    done = cloud.run("postprovision.sh", CALLBACKS_ALLOWED="no")

    assert done.returncode == 0
    assert cloud.calls == []


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ({"account": "fail"}, "az is not signed in"),
        ({"secrets": "fail"}, "could not be listed"),
        ({"deployment": "fail"}, "could not be stored"),
        ({"refresh": "fail"}, "the app was not told"),
    ],
)
def test_what_failed_with_the_key_is_said_with_what_to_do(cloud: Cloud, answers: dict[str, str], said: str) -> None:
    cloud.answers(**answers)
    done = cloud.run("postprovision.sh")

    assert done.returncode == 1
    assert said in done.stderr
    assert "azd " in done.stderr
    assert [path.name for path in cloud.folder.iterdir() if path.is_dir()] == ["bin"]


@pytest.mark.parametrize("script", sorted(HOOKS.glob("*.sh")), ids=lambda path: path.name)
def test_the_shell_reads_the_whole_script(script: Path) -> None:
    done = subprocess.run(["sh", "-n", str(script)], capture_output=True, text=True, check=False, env=os.environ)

    assert (done.returncode, done.stderr) == (0, "")
