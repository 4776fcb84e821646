"""The version of Darkroom, named by the API document and by the manifests of images it signs."""

from typing import Final

VERSION: Final = "1.0.0"
