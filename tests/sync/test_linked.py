"""The link that hundreds of tests begin with has the rows of a link that a teammate made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.apps import apps
from django.db import transaction

from intercom_bridge.models import OutgoingMessage
from sandbox.itop import Itop
from tests.linked import store_link
from tests.teammate import Teammate


def rows() -> dict[str, list[dict[str, Any]]]:
    """Return all rows of the product, without keys and times."""
    models = apps.get_app_config("intercom_bridge").get_models()
    return {model.__name__: [_content(row) for row in model.objects.values()] for model in models}  # type: ignore[attr-defined]


def _content(row: dict[str, Any]) -> dict[str, Any]:
    suffixes = ("_id", "_at", "last_update", "seen_until", "newest_update")
    content: dict[str, Any] = {}
    for name, value in row.items():
        if name == "id" or name.endswith(suffixes):
            # It differs each time: only whether there is one is compared.
            content[name] = value is not None
        else:
            content[name] = value
    return content


@pytest.mark.parametrize("ref", ["R-000006", "R-000008"])
def test_a_stored_link_is_like_one_that_a_teammate_made(
    ref: str, talking: Teammate, itop: Itop, work: Callable[[], None]
) -> None:
    before = transaction.savepoint()
    link = store_link(talking, itop, ref)
    number = link.ticket.object_id
    stored, in_itop = rows(), itop.store.load("UserRequest", number)
    transaction.savepoint_rollback(before)

    talking.canvas = {}
    talking.link(ref)
    work()
    OutgoingMessage.objects.all().delete()
    assert stored == rows()
    assert in_itop == itop.store.load("UserRequest", number)
