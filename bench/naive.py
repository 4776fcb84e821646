"""The naive way: the openai package, `base64.b64decode`, `upload_blob`, one image after the other."""

from __future__ import annotations

import base64
import hashlib
import time
from typing import Any

from azure.core.credentials import AccessToken
from azure.storage.blob import BlobServiceClient, ContentSettings
from openai import OpenAI


class Naive:
    def __init__(self, model: str, blobs: str) -> None:
        self._model = model
        self._clients: dict[str, OpenAI] = {}
        self._container = BlobServiceClient(blobs, credential=_Credential()).get_container_client("results")

    def run(self, answer: str) -> list[str]:
        """Stores the images of the answer of that name; returns their sha256."""
        client = self._clients.setdefault(answer, OpenAI(base_url=f"{self._model}/{answer}", api_key="none"))
        response = client.images.generate(model="gpt-image-1", prompt="a photograph of a darkroom")
        hashes = []
        for index, item in enumerate(response.data or ()):
            assert item.b64_json
            data = base64.b64decode(item.b64_json)
            hashes.append(hashlib.sha256(data).hexdigest())
            self._container.upload_blob(
                f"{answer}/{index}.png", data, overwrite=True, content_settings=ContentSettings("image/png")
            )
        return hashes

    def close(self) -> None:
        for client in self._clients.values():
            client.close()
        self._container.close()


class _Credential:
    def get_token(self, *_: str, **__: Any) -> AccessToken:
        return AccessToken("none", int(time.time()) + 3600)
