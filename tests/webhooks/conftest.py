from __future__ import annotations

from collections.abc import Callable

import pytest

from sandbox.itop import Itop
from tests.linked import store_link
from tests.teammate import Teammate

Work = Callable[[], None]


@pytest.fixture
def ticket(teammate: Teammate, itop: Itop) -> int:
    """Return R-000008, linked to the conversation."""
    return store_link(teammate, itop, "R-000008").ticket.object_id
