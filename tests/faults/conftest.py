"""The key that every member here has, and none may tell."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.server import KEY


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("key") / "key"
    path.write_text(KEY)
    return path
