from __future__ import annotations

from collections.abc import Iterator

import pytest
import responses

from itop_client import Client

from .recordings import BASE, TOKEN


@pytest.fixture
def edge() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock() as mock:
        yield mock


@pytest.fixture
def client() -> Client:
    return Client(BASE, token=TOKEN)
