"""Change the data model and the form of an iTop, for tests."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

from intercom_bridge.datamodel import TicketClass
from intercom_bridge.datamodel.builtin import BUILTIN_CLASSES
from intercom_bridge.datamodel.serialization import to_json
from intercom_bridge.models import ImportedClass, Workspace
from sandbox.itop import Itop


def let_itop(itop: Itop, code: str, **changes: Any) -> None:
    """Change an attribute of the sandbox's UserRequest, without telling the bridge."""
    # All stores are copies of one seeded store and share its data model.
    itop.store.model = copy.deepcopy(itop.store.model)
    attributes = itop.store.model.attributes("UserRequest")
    attributes[code] = replace(attributes[code], **changes)


def learn(workspace: Workspace, *attributes: Any, **changes: dict[str, Any]) -> TicketClass:
    """Import a data model: the stock UserRequest with additional attributes, and changes by attribute code."""
    stock = BUILTIN_CLASSES["UserRequest"]
    known = dict(stock.attributes) | {attribute.code: attribute for attribute in attributes}
    for code, change in changes.items():
        known[code] = replace(known[code], **change)
    learned = replace(stock, attributes=known)
    ImportedClass.objects.update_or_create(
        itop=workspace.itop,
        name="UserRequest",
        defaults={"definition": to_json(learned), "file_name": "test.xml"},
    )
    return learned


def ask_for(workspace: Workspace, *codes: str, **fields: Any) -> None:
    """Add these attributes to the profile's form, after title and description."""
    workspace.profile.form_attributes = ["title", "description", *codes]
    for name, value in fields.items():
        setattr(workspace.profile, name, value)
    workspace.profile.full_clean()
    workspace.profile.save()
