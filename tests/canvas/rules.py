"""What an iTop demands beyond the stock data model, for tests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from intercom_bridge.datamodel import TicketClass
from intercom_bridge.datamodel.stock import STOCK_CLASSES
from intercom_bridge.datamodel.stored import to_json
from intercom_bridge.models import LearnedClass, Workspace
from sandbox.itop import Itop


def let_itop(itop: Itop, code: str, **changes: Any) -> None:
    """Changes an attribute of the sandbox's UserRequest: its iTop demands it, and nobody has told us."""
    attributes = itop.store.model.attributes("UserRequest")
    attributes[code] = replace(attributes[code], **changes)


def learn(workspace: Workspace, *attributes: Any, **changes: dict[str, Any]) -> TicketClass:
    """Has the data model imported: stock's UserRequest with these attributes beside it, and others changed by code."""
    stock = STOCK_CLASSES["UserRequest"]
    known = dict(stock.attributes) | {one.code: one for one in attributes}
    for code, change in changes.items():
        known[code] = replace(known[code], **change)
    learned = replace(stock, attributes=known)
    LearnedClass.objects.update_or_create(
        itop=workspace.itop,
        name="UserRequest",
        defaults={"definition": to_json(learned), "file_name": "test.xml"},
    )
    return learned


def ask_for(workspace: Workspace, *codes: str, **fields: Any) -> None:
    """The profile's form asks for these after title and description."""
    workspace.profile.form_attributes = ["title", "description", *codes]
    for name, value in fields.items():
        setattr(workspace.profile, name, value)
    workspace.profile.full_clean()
    workspace.profile.save()
