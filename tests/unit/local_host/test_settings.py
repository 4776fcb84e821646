"""host.json, app settings over it, and metadata of the app."""

import json
from pathlib import Path
from typing import Any

import pytest

from local.host.keys import is_allowed, presented_key
from local.host.metadata import UnservedAppError, read_functions, resolve_settings
from local.host.settings import SettingsError, read_settings


@pytest.fixture
def app(tmp_path: Path) -> Path:
    (tmp_path / "host.json").write_text(
        json.dumps({"version": "2.0", "extensions": {"queues": {"batchSize": 8, "visibilityTimeout": "00:00:10"}}})
    )
    return tmp_path


def test_defaults_are_those_of_the_functions_host(app: Path) -> None:
    settings = read_settings(app, {"LOCAL_HOST_KEY": "k"})
    assert (settings.route_prefix, settings.request_body_limit) == ("api", 104_857_600)
    queues = settings.queues
    assert (queues.batch_size, queues.new_batch_threshold, queues.max_dequeue_count) == (8, 4, 5)
    assert (queues.base64, queues.visibility_timeout, queues.max_polling_interval) == (True, 10, 60)
    assert settings.blobs.poison_blob_threshold == 5
    assert settings.blobs.max_degree_of_parallelism % 8 == 0


def test_origins_are_named_as_they_are_when_deploying(app: Path) -> None:
    named = {"LOCAL_HOST_KEY": "k", "CORS_ORIGINS": "https://studio.example.com, http://localhost:5173"}
    assert read_settings(app, named).origins == ("https://studio.example.com", "http://localhost:5173")
    assert read_settings(app, {"LOCAL_HOST_KEY": "k"}).origins == ()


def test_app_settings_override_host_json(app: Path) -> None:
    overrides = {
        "AzureFunctionsJobHost__extensions__queues__MaxDequeueCount": "2",
        "AzureFunctionsJobHost__extensions__queues__batchsize": "3",
        "AzureFunctionsJobHost__extensions__blobs__maxDegreeOfParallelism": "4",
        "AzureFunctionsJobHost__extensions__blobs__poisonBlobThreshold": "3",
        "AzureFunctionsJobHost__functionTimeout": "-1",
        "AzureFunctionsJobHost__logging__logLevel__default": "Debug",
    }
    settings = read_settings(app, {"LOCAL_HOST_KEY": "k", **overrides})
    assert (settings.queues.batch_size, settings.queues.max_dequeue_count) == (3, 2)
    assert (settings.blobs.max_degree_of_parallelism, settings.blobs.poison_blob_threshold) == (4, 3)
    assert (settings.function_timeout, settings.log_level) == (None, "DEBUG")


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({}, "LOCAL_HOST_KEY"),
        ({"LOCAL_HOST_KEY": "k", "AzureFunctionsJobHost__extensions__queues__batchSize": "33"}, "batchSize"),
        ({"LOCAL_HOST_KEY": "k", "AzureFunctionsJobHost__extensions__blobs__poisonBlobThreshold": "0"}, "poisonBlob"),
        ({"LOCAL_HOST_KEY": "k", "AzureFunctionsJobHost__functionTimeout": "soon"}, "soon"),
        ({"LOCAL_HOST_KEY": "k", "AzureFunctionsJobHost__extensions__queues__messageEncoding": "utf7"}, "utf7"),
    ],
)
def test_a_wrong_setting_is_named(app: Path, environment: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        read_settings(app, environment)


def test_a_directory_without_host_json_is_no_app(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"host\.json"):
        read_settings(tmp_path, {"LOCAL_HOST_KEY": "k"})


def _reported(name: str, **binding: Any) -> dict[str, Any]:
    return {"id": "1", "name": name, "bindings": [json.dumps({"name": "b", "direction": "IN", **binding})]}


def test_a_binding_that_is_not_served_is_named_with_its_function() -> None:
    with pytest.raises(UnservedAppError, match=r"'tidy'.*'cosmosDBTrigger'"):
        read_functions([_reported("tidy", type="cosmosDBTrigger")], {})


def test_a_disabled_function_is_left_out() -> None:
    reported = [_reported("one", type="timerTrigger"), _reported("two", type="timerTrigger")]
    assert [each.name for each in read_functions(reported, {"AzureWebJobs.one.Disabled": "true"})] == ["two"]


def test_app_settings_stand_in_for_their_names() -> None:
    assert resolve_settings("%STAGE%-work", {"STAGE": "test"}) == "test-work"
    with pytest.raises(UnservedAppError, match="STAGE"):
        resolve_settings("%STAGE%-work", {})


@pytest.mark.parametrize(
    ("headers", "query", "key"),
    [
        ([(b"x-functions-key", b"a")], b"code=b", "a"),
        ([], b"x=1&code=b%20c", "b c"),
        ([], b"Code=b", "b"),
        ([], b"barcode=b", ""),
        ([], b"", ""),
    ],
)
def test_the_key_is_taken_from_the_header_then_the_query(
    headers: list[tuple[bytes, bytes]], query: bytes, key: str
) -> None:
    assert presented_key(headers, query) == key


def test_only_anonymous_routes_are_open_without_the_key() -> None:
    assert is_allowed("ANONYMOUS", "", "k")
    assert not is_allowed("FUNCTION", "", "k")
    assert not is_allowed("admin", "kk", "k")
    assert is_allowed("function", "k", "k")
    assert not is_allowed("function", "ключ", "k")
