"""The sandbox's own addresses under /sandbox/: what the inbox page and the demo ask of the stand-in."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import markup
from .shapes import Json, admin_json, contact_json
from .store import Conversation
from .workspace import NotSensible

if TYPE_CHECKING:
    from .server import Intercom

VERSIONS = frozenset(
    {f"1.{minor}" for minor in range(5)} | {f"2.{minor}" for minor in range(17)} | {"Preview", "Unstable"}
)


def _state(intercom: Intercom, _said: Json) -> Json:
    workspace = intercom.workspace
    return {
        "workspace_id": workspace.workspace_id,
        "bridge": workspace.bridge_url,
        "api_version": workspace.api_version,
        "admins": [admin_json(admin) for admin in intercom.store.admins()],
        "contacts": [contact_json(one, workspace.workspace_id) for one in intercom.store.contacts()],
    }


def _conversations(intercom: Intercom, _said: Json) -> Json:
    return {"conversations": [_summary(intercom, one) for one in intercom.store.conversations()]}


def _summary(intercom: Intercom, conversation: Conversation) -> Json:
    contact = intercom.store.contact(conversation.contact_ids[0])
    newest = intercom.store.parts(conversation.id, newest=1)
    last = newest[-1] if newest else conversation.source
    words = markup.to_text(last.body or "") or ", ".join(last.attachments)
    return {
        "id": conversation.id,
        "contact": contact_json(contact, intercom.workspace.workspace_id),
        "updated_at": conversation.updated_at,
        "last_author_type": last.author_type,
        "is_note": last.part_type == "note",
        "preview": words[:140],
        "count": intercom.store.count_parts(conversation.id) + 1,
    }


def _conversation(intercom: Intercom, _said: Json, conversation_id: str) -> Json:
    conversation = intercom.store.conversation(conversation_id)
    count = intercom.store.count_parts(conversation_id)
    return intercom.workspace.conversation_json(conversation, most_parts=count) | {
        "contact": contact_json(
            intercom.store.contact(conversation.contact_ids[0]), intercom.workspace.workspace_id
        )
    }


def _begin(intercom: Intercom, said: Json) -> Json:
    if said.get("contact_id"):
        contact = intercom.store.contact(str(said["contact_id"]))
    else:
        contact = intercom.store.add_contact(**said.get("contact", {}))
    conversation = intercom.workspace.begin(contact, **_message(said))
    return {"id": conversation.id}


def _write(intercom: Intercom, said: Json, conversation_id: str) -> Json:
    part = intercom.workspace.write(
        conversation_id,
        author=str(said.get("author") or "contact"),
        author_id=str(said.get("author_id") or ""),
        part_type=str(said.get("part_type") or ""),
        note=said.get("note") is True,
        **_message(said),
    )
    return intercom.workspace.shapes.part(part)


def _merge(intercom: Intercom, said: Json, conversation_id: str) -> Json:
    """`{"into": id}`."""
    intercom.workspace.merge(conversation_id, str(said.get("into") or ""))
    return {}


def _message(said: Json) -> dict[str, Any]:
    files = said.get("attachments") or []
    if not isinstance(files, list):
        raise NotSensible("attachments must be a list of file names.")
    return {
        "body": str(said.get("body") or ""),
        "html": str(said.get("html") or ""),
        "attachments": [str(name) for name in files],
    }


def _canvas(intercom: Intercom, said: Json) -> Json:
    answer = intercom.workspace.canvas(
        str(said.get("conversation_id")),
        admin_id=str(said.get("admin_id") or ""),
        contact_id=str(said.get("contact_id") or ""),
        component_id=str(said.get("component_id") or ""),
        input_values=said.get("input_values"),
        current_canvas=said.get("current_canvas"),
    )
    return answer.to_json()


def _set_faults(intercom: Intercom, said: Json) -> Json:
    intercom.faults.set(said)
    return intercom.faults.to_json()


def _notifications(intercom: Intercom, _said: Json) -> Json:
    return {"notifications": [one.to_json() for one in list(intercom.webhooks.log)]}


def _webhooks(intercom: Intercom, said: Json) -> Json:
    """`{"validate": true}`, `{"ping": true}`, `{"redeliver": id}`, `{"hold": true}`, `{"release": "reversed"}`,
    `{"copies": 2}`, `{"retry_seconds": 60}`, `{"api_version": "2.15"}`, `{"parts_in_canvas": 20}`."""
    webhooks = intercom.webhooks
    answer: Json = {}
    if "retry_seconds" in said:
        webhooks.retry_seconds = float(said["retry_seconds"])
    if "copies" in said:
        webhooks.copies = int(said["copies"])
    if "api_version" in said:
        if said["api_version"] not in VERSIONS or not said["api_version"][0].isdigit():
            raise NotSensible("There is no such version.")
        intercom.workspace.api_version = said["api_version"]
    if "parts_in_canvas" in said:
        intercom.workspace.parts_in_canvas = int(said["parts_in_canvas"])
    if said.get("hold"):
        webhooks.hold()
    if said.get("release"):
        webhooks.release(str(said["release"]))
    if said.get("validate"):
        answer["status"] = webhooks.validate()
    if said.get("ping"):
        answer["notification"] = webhooks.ping().to_json()
    if said.get("redeliver"):
        answer["notification"] = webhooks.redeliver(str(said["redeliver"])).to_json()
    return answer


_ROUTES: tuple[tuple[str, str, Callable[..., Json]], ...] = (
    ("GET", r"state", _state),
    ("GET", r"conversations", _conversations),
    ("POST", r"conversations", _begin),
    ("GET", r"conversations/([^/]+)", _conversation),
    ("POST", r"conversations/([^/]+)/messages", _write),
    ("POST", r"conversations/([^/]+)/merge", _merge),
    ("POST", r"canvas", _canvas),
    ("GET", r"faults", lambda intercom, _said: intercom.faults.to_json()),
    ("POST", r"faults", _set_faults),
    ("GET", r"notifications", _notifications),
    ("POST", r"webhooks", _webhooks),
)


def find_control(method: str, path: str) -> tuple[Callable[..., Json] | None, tuple[str, ...]]:
    """The control of this address under /sandbox/, and what its path says; None if there is none."""
    for known_method, pattern, handler in _ROUTES:
        if method == known_method and (found := re.fullmatch(pattern, path)):
            return handler, found.groups()
    return None, ()
