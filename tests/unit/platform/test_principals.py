"""Principal headers are believed only where the platform authenticates; a key holder sees all."""

from __future__ import annotations

import base64
import json

import pytest

from shared.errors import DarkroomError
from shared.platform.principals import identify


def headers(principal: str, *roles: str, role_typ: str = "roles") -> dict[str, str]:
    claims = [{"typ": role_typ, "val": role} for role in roles]
    encoded = base64.b64encode(json.dumps({"claims": claims, "role_typ": role_typ}).encode()).decode()
    return {"x-ms-client-principal-id": principal, "x-ms-client-principal": encoded}


def test_a_key_holder_is_a_trusted_service_whatever_headers_it_sends() -> None:
    caller = identify(headers("mallory", "Darkroom.Admin"), guarded_by_keys=True, platform_auth=False)

    assert (caller.owner, caller.sees_all) == ("key", True)


def test_forged_principal_headers_are_nobody_where_the_platform_does_not_authenticate() -> None:
    with pytest.raises(DarkroomError) as refused:
        identify(headers("mallory"), guarded_by_keys=False, platform_auth=False)

    assert refused.value.status == 401


def test_a_principal_sees_its_own_jobs_only() -> None:
    caller = identify(headers("alice", "Reader"), guarded_by_keys=False, platform_auth=True)

    assert caller.may_see("alice")
    assert not caller.may_see("bob")
    assert not caller.may_see("key")


@pytest.mark.parametrize(
    "role_typ", ["roles", "http://schemas.microsoft.com/ws/2008/06/identity/claims/role", "custom"]
)
def test_the_admin_role_sees_all(role_typ: str) -> None:
    caller = identify(headers("alice", "Darkroom.Admin", role_typ=role_typ), guarded_by_keys=False, platform_auth=True)

    assert caller.may_see("bob")


@pytest.mark.parametrize(
    "encoded", ["", "!", "e30=", "W10=", "bnVsbA==", base64.b64encode(b'{"claims": [1]}').decode()]
)
def test_a_broken_principal_has_no_roles(encoded: str) -> None:
    given = {"x-ms-client-principal-id": "alice", "x-ms-client-principal": encoded}

    assert not identify(given, guarded_by_keys=False, platform_auth=True).sees_all
