"""The stand-in's controls under /sandbox/. The inbox page and the demo use them."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import markup, messenger
from .files import File, InvalidFileError, from_json
from .rest import VERSIONS
from .shapes import Json, admin_json, contact_json, team_json
from .store import Conversation
from .workspace import InvalidActionError

if TYPE_CHECKING:
    from .server import Intercom


def _state(intercom: Intercom, _data: Json) -> Json:
    workspace = intercom.workspace
    return {
        "workspace_id": workspace.workspace_id,
        "bridge": workspace.bridge_url,
        "api_version": workspace.api_version,
        "admins": [admin_json(admin) for admin in intercom.store.admins()],
        "teams": [team_json(team) for team in intercom.store.teams()],
        "contacts": [contact_json(contact, workspace.workspace_id) for contact in intercom.store.contacts()],
    }


def _conversations(intercom: Intercom, _data: Json) -> Json:
    return {
        "conversations": [_summary(intercom, conversation) for conversation in intercom.store.conversations()]
    }


def _summary(intercom: Intercom, conversation: Conversation) -> Json:
    contact = intercom.store.contact(conversation.contact_ids[0])
    written = [
        part for part in intercom.store.parts(conversation.id, newest=20) if part.body or part.attachments
    ]
    last = written[-1] if written else conversation.source
    text = markup.to_text(last.body or "") or ", ".join(file.name for file in last.attachments)
    return {
        "id": conversation.id,
        "contact": contact_json(contact, intercom.workspace.workspace_id),
        "updated_at": conversation.updated_at,
        "state": conversation.state,
        "last_author_type": last.author_type,
        "is_note": last.part_type == "note",
        "preview": text[:140],
        "count": intercom.store.count_parts(conversation.id) + 1,
    }


def _conversation(intercom: Intercom, _data: Json, conversation_id: str) -> Json:
    conversation = intercom.store.conversation(conversation_id)
    count = intercom.store.count_parts(conversation_id)
    return intercom.workspace.conversation_json(conversation, most_parts=count) | {
        "contact": contact_json(
            intercom.store.contact(conversation.contact_ids[0]), intercom.workspace.workspace_id
        )
    }


def _begin(intercom: Intercom, data: Json) -> Json:
    if data.get("contact_id"):
        contact = intercom.store.contact(str(data["contact_id"]))
    else:
        contact = intercom.store.add_contact(**data.get("contact", {}))
    conversation = intercom.workspace.begin(contact, **_message(data))
    return {"id": conversation.id}


def _write(intercom: Intercom, data: Json, conversation_id: str) -> Json:
    part = intercom.workspace.write(
        conversation_id,
        author=str(data.get("author") or "contact"),
        author_id=str(data.get("author_id") or ""),
        part_type=str(data.get("part_type") or ""),
        note=data.get("note") is True,
        **_message(data),
    )
    return intercom.workspace.shapes.part(part)


def _merge(intercom: Intercom, data: Json, conversation_id: str) -> Json:
    """Merge a conversation into another one: `{"into": id}`."""
    intercom.workspace.merge(conversation_id, str(data.get("into") or ""))
    return {}


def _change_state(intercom: Intercom, data: Json, conversation_id: str) -> Json:
    """Open, close, snooze or assign a conversation: `{"kind": "snoozed", "minutes": 60, "author_id": id}`."""
    kind = str(data.get("kind"))
    if kind not in ("open", "close", "snoozed", "assignment"):
        raise InvalidActionError("kind must be open, close, snoozed or assignment.")
    assigned_to = None
    if kind == "assignment":
        assigned_to = (str(data.get("type") or "admin"), str(data.get("assignee_id") or "0"))
    part = intercom.workspace.change_state(
        conversation_id,
        kind,
        author_id=str(data.get("author_id") or ""),
        snoozed_until=int(time.time() + 60 * float(data.get("minutes") or 60)) if kind == "snoozed" else None,
        assigned_to=assigned_to,
    )
    return intercom.workspace.shapes.part(part)


def _redact(intercom: Intercom, data: Json, conversation_id: str) -> Json:
    """Redact a message: `{"part_id": id}`."""
    return intercom.workspace.shapes.part(
        intercom.workspace.redact(conversation_id, str(data.get("part_id") or ""))
    )


def _set_clock(intercom: Intercom, data: Json) -> Json:
    """Set how far the clock for addresses of files is ahead, to expire them: `{"offset": seconds}`."""
    intercom.workspace.addresses.clock_offset = float(data.get("offset") or 0)
    return {"offset": intercom.workspace.addresses.clock_offset}


def _delete(intercom: Intercom, _data: Json, conversation_id: str) -> Json:
    intercom.workspace.delete(conversation_id)
    return {}


def _message(data: Json) -> dict[str, Any]:
    """Return a message as arguments for `Workspace.write`. An attachment is a file, or the name of an example file."""
    files, pictures = data.get("attachments") or [], data.get("pictures") or []
    if not isinstance(files, list) or not isinstance(pictures, list):
        raise InvalidActionError("attachments and pictures must be lists of files.")
    return {
        "body": str(data.get("body") or ""),
        "html": str(data.get("html") or ""),
        "attachments": [name if isinstance(name, str) else _file(name) for name in files],
        "pictures": [_file(picture) for picture in pictures],
    }


def _file(given: object) -> File:
    try:
        return from_json(given)
    except InvalidFileError as error:
        raise InvalidActionError(str(error)) from error


def _canvas(intercom: Intercom, data: Json) -> Json:
    answer = intercom.workspace.canvas(
        str(data.get("conversation_id")),
        admin_id=str(data.get("admin_id") or ""),
        contact_id=str(data.get("contact_id") or ""),
        component_id=str(data.get("component_id") or ""),
        input_values=data.get("input_values"),
        current_canvas=data.get("current_canvas"),
    )
    return answer.to_json()


def _set_faults(intercom: Intercom, data: Json) -> Json:
    intercom.faults.set(data)
    return intercom.faults.to_json()


def _notifications(intercom: Intercom, _data: Json) -> Json:
    return {"notifications": [event.to_json() for event in list(intercom.webhooks.log)]}


def _webhooks(intercom: Intercom, data: Json) -> Json:  # noqa: C901 - one branch per switch
    """Change settings of the webhooks, or send something.

    The body has one or more of `{"validate": true}`, `{"ping": true}`, `{"redeliver": id}`, `{"hold": true}`,
    `{"release": "reversed"}`, `{"copies": 2}`, `{"retry_seconds": 60}`, `{"api_version": "2.15"}` and
    `{"parts_in_canvas": 20}`.
    """
    webhooks = intercom.webhooks
    answer: Json = {}
    if "retry_seconds" in data:
        webhooks.retry_seconds = float(data["retry_seconds"])
    if "copies" in data:
        webhooks.copies = int(data["copies"])
    if "api_version" in data:
        if data["api_version"] not in VERSIONS or not data["api_version"][0].isdigit():
            raise InvalidActionError("There is no such version.")
        intercom.workspace.api_version = data["api_version"]
    if "parts_in_canvas" in data:
        intercom.workspace.parts_in_canvas = int(data["parts_in_canvas"])
    if data.get("hold"):
        webhooks.hold()
    if data.get("release"):
        webhooks.release(str(data["release"]))
    if data.get("validate"):
        answer["status"] = webhooks.validate()
    if data.get("ping"):
        answer["notification"] = webhooks.ping().to_json()
    if data.get("redeliver"):
        answer["notification"] = webhooks.redeliver(str(data["redeliver"])).to_json()
    return answer


_ROUTES: tuple[tuple[str, str, Callable[..., Json]], ...] = (
    ("GET", r"state", _state),
    ("GET", r"conversations", _conversations),
    ("POST", r"conversations", _begin),
    ("GET", r"conversations/([^/]+)", _conversation),
    ("POST", r"conversations/([^/]+)/messages", _write),
    ("POST", r"conversations/([^/]+)/merge", _merge),
    ("POST", r"conversations/([^/]+)/state", _change_state),
    ("POST", r"conversations/([^/]+)/redact", _redact),
    ("POST", r"conversations/([^/]+)/delete", _delete),
    ("POST", r"clock", _set_clock),
    ("POST", r"messenger", messenger.begin),
    ("POST", r"canvas", _canvas),
    ("GET", r"faults", lambda intercom, _data: intercom.faults.to_json()),
    ("POST", r"faults", _set_faults),
    ("GET", r"notifications", _notifications),
    ("POST", r"webhooks", _webhooks),
)


def find_control(method: str, path: str) -> tuple[Callable[..., Json] | None, tuple[str, ...]]:
    """Return the handler for an address under /sandbox/ (None if unknown), and the arguments in the path."""
    for known_method, pattern, handler in _ROUTES:
        if method == known_method and (found := re.fullmatch(pattern, path)):
            return handler, found.groups()
    return None, ()
