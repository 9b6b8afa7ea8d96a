"""What all tests share: one event loop library, and one finished session of a real model that many tests read."""

from __future__ import annotations

import os

import anyio
import pytest
from hypothesis import settings

from .tools.finished import Finished, finish

# Nobody's own settings of a server are part of a test.
for name in (
    *("WORKSPACE", "ALLOW_ROOTS", "OUTPUT_ROOTS", "HOST_IS", "POLICY", "USER_CODE", "ALLOW_PICKLE", "MAX_WAIT_S"),
    *("JOB_MEMORY", "JOB_MINUTES", "SIGNING_KEY", "TRANSPORT", "PORT", "TOKEN_FILE"),
):
    os.environ.pop(f"EDGEOPT_{name}", None)

# A machine that is shared is slow at times: that fails no test.
settings.register_profile("shared-machine", deadline=None)
settings.load_profile("shared-machine")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A session from open_session to its report, by real workers. Its workspace is for reading: copy before changing."""
    return anyio.run(finish, tmp_path_factory.mktemp("finished"))
