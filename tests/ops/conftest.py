from __future__ import annotations

from pathlib import Path

import pytest

from .stage import DATABASE, environment_of, run


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database as `manage.py migrate` leaves it; made once, copied for each stage."""
    directory = tmp_path_factory.mktemp("migrated")
    run(environment_of(directory), "manage.py", "migrate", "--verbosity", "0")
    return directory / DATABASE
