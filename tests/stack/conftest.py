"""What the tests of the whole app share beside the stack itself."""

from __future__ import annotations

import pytest

from local.state import StackInfo
from tests.support.model_control import ModelControl


@pytest.fixture
def model(stack: StackInfo) -> ModelControl:
    """The model server, as if just started."""
    return ModelControl(stack.model)
