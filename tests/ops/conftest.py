from __future__ import annotations

from pathlib import Path

import pytest

from .processes import DATABASE, environment_of, run


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a migrated database, which is created once and copied for each instance."""
    directory = tmp_path_factory.mktemp("migrated")
    run(environment_of(directory), "manage.py", "migrate", "--verbosity", "0")
    return directory / DATABASE
