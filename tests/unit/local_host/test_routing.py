"""Route templates, as ASP.NET Core matches them."""

import pytest

from local.host.metadata import Function
from local.host.routing import Router, RouteTemplateError, normalise, request_target


def router(*templates: str, prefix: str = "", methods: list[str] | None = None) -> Router:
    def function(template: str) -> Function:
        trigger = {"type": "httpTrigger", "name": "req", "route": template, "methods": methods}
        return Function(template, template, (trigger,))

    return Router([function(template) for template in templates], prefix)


def parameters(template: str, path: str) -> dict[str, str] | None:
    found = router(template).find("GET", path)
    return found and found[1]


@pytest.mark.parametrize(
    ("template", "path", "expected"),
    [
        ("api/jobs/{id}", "/api/jobs/7", {"id": "7"}),
        ("api/jobs/{id}", "/API/Jobs/AbC", {"id": "AbC"}),
        ("api/jobs/{id}", "/api/jobs", None),
        ("api/jobs/{id}", "/api/jobs/7/x", None),
        ("jobs/{id?}", "/jobs", {}),
        ("jobs/{id?}", "/jobs/7", {"id": "7"}),
        ("jobs/{id=5}", "/jobs", {"id": "5"}),
        ("files/{*rest}", "/files", {}),
        ("files/{*rest}", "/files/a/b", {"rest": "a/b"}),
        ("files/{**rest}", "/files/a/b", {"rest": "a/b"}),
        ("files/{name}.{extension}", "/files/a.b.png", {"name": "a.b", "extension": "png"}),
        ("n/{id:int}", "/n/-12", {"id": "-12"}),
        ("n/{id:int}", "/n/2147483648", None),
        ("n/{id:int}", "/n/x", None),
        ("n/{id:long}", "/n/2147483648", {"id": "2147483648"}),
        ("n/{id:length(3)}", "/n/abc", {"id": "abc"}),
        ("n/{id:length(2,3)}", "/n/abcd", None),
        ("n/{id:minlength(2):alpha}", "/n/ab", {"id": "ab"}),
        ("n/{id:minlength(2):alpha}", "/n/a1", None),
        ("n/{id:range(1,9)}", "/n/9", {"id": "9"}),
        ("n/{id:range(1,9)}", "/n/10", None),
        ("n/{id:guid}", "/n/6f9619ff-8b86-d011-b42d-00c04fc964ff", {"id": "6f9619ff-8b86-d011-b42d-00c04fc964ff"}),
        ("n/{id:bool}", "/n/TRUE", {"id": "TRUE"}),
        ("n/{id:double}", "/n/1.5e3", {"id": "1.5e3"}),
        ("n/{id:regex(^[0-9a-f]{{2}}$)}", "/n/A1", {"id": "A1"}),
        ("n/{id:regex(^[0-9a-f]{{2}}$)}", "/n/a1b", None),
        ("n/{id:regex(^\\d+$)}", "/n/12", {"id": "12"}),
    ],
)
def test_template_fits_path(template: str, path: str, expected: dict[str, str] | None) -> None:
    assert parameters(template, path) == expected


def test_the_most_specific_template_wins_in_whatever_order_they_come() -> None:
    templates = ("{*all}", "jobs/{id}", "jobs/{id:int}", "jobs/new", "jobs/{name}-{version}")
    for order in (templates, templates[::-1]):
        table = router(*order)

        def chosen(path: str, table: Router = table) -> str:
            found = table.find("GET", path)
            assert found is not None
            return found[0].name

        assert chosen("/jobs/new") == "jobs/new"
        assert chosen("/jobs/7") == "jobs/{id:int}"
        assert chosen("/jobs/x") == "jobs/{id}"
        assert chosen("/jobs/a-b") == "jobs/{name}-{version}"
        assert chosen("/else") == "{*all}"


def test_a_method_without_a_route_is_no_route_at_all() -> None:
    table = router("jobs", methods=["POST"])
    assert table.find("POST", "/jobs") is not None
    assert table.find("GET", "/jobs") is None


def test_routes_without_methods_take_every_method() -> None:
    assert router("jobs").find("PATCH", "/jobs") is not None


def test_the_prefix_of_host_json_comes_before_every_route() -> None:
    assert router("jobs", prefix="api").find("GET", "/api/jobs") is not None
    assert router("jobs", prefix="api").find("GET", "/jobs") is None


def test_an_unknown_constraint_is_named() -> None:
    with pytest.raises(RouteTemplateError, match="colour"):
        router("jobs/{id:colour}")


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (b"/", ""),
        (b"/a/b/", "/a/b"),
        (b"/a%20b", "/a b"),
        (b"/a%2fb", "/a%2Fb"),
        (b"/a/../b", "/b"),
        (b"/a/%2e%2E/b", "/b"),
        (b"/../../etc", "/etc"),
        (b"/%D0%B0", "/а"),
    ],
)
def test_paths_are_read_as_kestrel_reads_them(raw: bytes, path: str) -> None:
    assert normalise(raw) == path


def test_the_worker_never_sees_dot_segments() -> None:
    assert request_target(b"/api/%2e%2e/x%25y%2Fz") == "/x%25y%2Fz"
    assert request_target(b"/api/a%2Fb") == "/api/a%2Fb"
