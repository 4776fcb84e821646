"""Pages of other origins and the local storage: they may use links to blobs, as the deployed account lets them."""

from __future__ import annotations

import ssl

import httpx

from local.azurite import StorageAccount
from local.certificates import Certificates
from local.infrastructure import create_storage

PAGE = "http://localhost:5173"


def preflight(account: StorageAccount, certificates: Certificates, method: str, headers: str) -> httpx.Response:
    asking = {
        "origin": PAGE,
        "access-control-request-method": method,
        "access-control-request-headers": headers,
    }
    trust = ssl.create_default_context(cafile=str(certificates.ca))
    return httpx.request("OPTIONS", f"{account.blob}/uploads/a/image.png", headers=asking, verify=trust, timeout=20)


def test_pages_of_the_origins_that_are_named_may_read_and_create_blobs_by_link(
    azurite_environment: StorageAccount, certificates: Certificates
) -> None:
    account = azurite_environment
    assert preflight(account, certificates, "PUT", "content-type").status_code == 403

    create_storage(account.blob, account.queue, account.table, certificates.ca, ["https://a.example.com", PAGE])

    for method, headers in (("GET", "range"), ("PUT", "content-type,if-none-match,x-ms-blob-type")):
        answer = preflight(account, certificates, method, headers)
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, PAGE), answer.text
    assert preflight(account, certificates, "DELETE", "").status_code == 403

    create_storage(account.blob, account.queue, account.table, certificates.ca)
    assert preflight(account, certificates, "GET", "range").status_code == 403
