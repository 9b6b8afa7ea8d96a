"""What all tests share: one event loop library, and one finished session of a real model that many tests read."""

from __future__ import annotations

import anyio
import pytest
from hypothesis import settings

from .tools.finished import Finished, finish

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
