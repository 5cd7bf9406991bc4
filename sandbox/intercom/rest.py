"""The calls of Intercom's REST API: what each call does, and with which errors it responds."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import files, markup
from .shapes import (
    Json,
    admin_json,
    contact_json,
    conversation_attribute_json,
    data_attribute_json,
    team_json,
)
from .store import Admin, Conversation, ConversationAttribute, NotFoundError
from .workspace import OUR_APP, InvalidActionError

if TYPE_CHECKING:
    from .server import Intercom

VERSIONS = frozenset(
    {f"1.{minor}" for minor in range(5)} | {f"2.{minor}" for minor in range(17)} | {"Preview", "Unstable"}
)
DATA_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "string": str,
    "list": str,
    "integer": int,
    "decimal": (int, float),
    "boolean": bool,
    "datetime": int,
}


class RequestRefusedError(Exception):
    """Intercom refuses a request. Its response has this status, and a list of errors with this code."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


class InvalidParameterError(RequestRefusedError):
    def __init__(self, message: str) -> None:
        super().__init__(400, "parameter_invalid", message)


@dataclass(frozen=True)
class Call:
    """One request. `version` is the API version that it requests."""

    intercom: Intercom
    method: str
    path: str
    query: Mapping[str, list[str]]
    body: bytes
    version: str

    @property
    def data(self) -> Json:
        """The body's JSON object. Raise RequestRefusedError."""
        return parsed(self.body)

    def require(self, version: tuple[int, int]) -> None:
        """Raise RequestRefusedError if the call requests an older version, which does not have this endpoint."""
        numbers = re.fullmatch(r"([0-9]+)\.([0-9]+)", self.version)
        if numbers and (int(numbers[1]), int(numbers[2])) < version:
            raise RequestRefusedError(
                400, "intercom_version_invalid", "The requested version does not support this endpoint"
            )


def answer(call: Call) -> Json:
    """Execute a call. Raise RequestRefusedError or NotFoundError."""
    for method, pattern, handler in _ROUTES:
        if method == call.method and (found := re.fullmatch(pattern, call.path)):
            return handler(call, *found.groups())
    raise RequestRefusedError(404, "not_found", "The requested resource was not found")


def parsed(body: bytes) -> Json:
    try:
        data = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidParameterError("invalid JSON") from error
    if not isinstance(data, dict):
        raise InvalidParameterError("a JSON object is expected")
    return data


# --- People ---


def _me(call: Call) -> Json:
    workspace, store = call.intercom.workspace, call.intercom.store
    return admin_json(store.admins()[0], store.teams()) | {
        "email_verified": True,
        "app": {
            "type": "app",
            "id_code": workspace.workspace_id,
            "name": "Acme support [sandbox]",
            "created_at": 1760000000,
            "secure": False,
            "identity_verification": call.intercom.verifies_identities,
            "timezone": "Europe/Dublin",
            "region": workspace.region,
        },
    }


def _admins(call: Call) -> Json:
    store = call.intercom.store
    return {"type": "admin.list", "admins": [admin_json(admin, store.teams()) for admin in store.admins()]}


def _teams(call: Call) -> Json:
    return {"type": "team.list", "teams": [team_json(team) for team in call.intercom.store.teams()]}


def _contact(call: Call, contact_id: str) -> Json:
    store = call.intercom.store
    if store.is_merged(contact_id):
        raise RequestRefusedError(410, "contact_merged", "The contact was merged")
    return contact_json(store.contact(contact_id), call.intercom.workspace.workspace_id)


# --- Conversations ---


def _conversation(call: Call, conversation_id: str) -> Json:
    conversation = call.intercom.store.conversation(conversation_id)
    plain = call.query.get("display_as") == ["plaintext"]
    return call.intercom.workspace.conversation_json(conversation, plain=plain)


def _reply(call: Call, conversation_id: str) -> Json:
    data = call.data
    conversation = _target(call, conversation_id)
    kind = data.get("message_type")
    if kind not in ("comment", "note") or data.get("type") != "admin":
        raise InvalidParameterError("message_type must be comment or note, and type admin")
    admin = _admin(call, data)
    html = data.get("body")
    if not isinstance(html, str) or not markup.normalise(html):
        raise InvalidParameterError("body is required")
    try:
        sent = files.list_from_json(data.get("attachment_files"))
    except files.InvalidFileError as error:
        raise InvalidParameterError(str(error)) from error
    call.intercom.workspace.write(
        conversation.id,
        author="admin",
        author_id=admin.id,
        html=html,
        note=kind == "note",
        attachments=sent,
        app_package_code=OUR_APP,
    )
    return _conversation(call, conversation.id)


def _change_state(call: Call, conversation_id: str) -> Json:
    """Open, close, snooze or assign a conversation."""
    data = call.data
    conversation = _target(call, conversation_id)
    kind, workspace = data.get("message_type"), call.intercom.workspace
    admin = _admin(call, data)
    html = data.get("body") or ""
    if not isinstance(html, str):
        raise InvalidParameterError("body is invalid")
    written: dict[str, Any] = {"author_id": admin.id, "app_package_code": OUR_APP}
    if kind == "open":
        workspace.change_state(conversation.id, "open", **written)
    elif kind == "close":
        if data.get("type") != "admin":
            raise InvalidParameterError("type must be admin")
        workspace.change_state(conversation.id, "close", html=html, **written)
    elif kind == "snoozed":
        until = data.get("snoozed_until")
        if not isinstance(until, int) or until <= time.time():
            raise InvalidParameterError("snoozed_until must be in the future")
        workspace.change_state(conversation.id, "snoozed", snoozed_until=until, **written)
    elif kind == "assignment":
        assignee = (str(data.get("type")), str(data.get("assignee_id") or ""))
        _check_assignee(call, assignee)
        workspace.change_state(conversation.id, "assignment", html=html, assigned_to=assignee, **written)
    else:
        raise InvalidParameterError("message_type is invalid")
    return _conversation(call, conversation.id)


def _check_assignee(call: Call, assignee: tuple[str, str]) -> None:
    kind, assignee_id = assignee
    if kind not in ("admin", "team"):
        raise InvalidParameterError("type must be admin or team")
    if not assignee_id:
        raise RequestRefusedError(400, "parameter_not_found", "assignee_id is required")
    if assignee_id == "0":
        return
    store = call.intercom.store
    try:
        store.admin(assignee_id) if kind == "admin" else store.team(assignee_id)
    except NotFoundError as error:
        raise RequestRefusedError(404, "assignee_not_found", "Assignee not found") from error


def _admin(call: Call, data: Json) -> Admin:
    if not data.get("admin_id"):
        raise RequestRefusedError(400, "parameter_not_found", "admin_id is required")
    try:
        return call.intercom.store.admin(str(data["admin_id"]))
    except NotFoundError as error:
        raise RequestRefusedError(404, "admin_not_found", "Admin not found") from error


def _target(call: Call, conversation_id: str) -> Conversation:
    """Return the conversation to write to. Intercom does not document its response for a merged conversation."""
    conversation = call.intercom.store.conversation(conversation_id)
    if conversation.merged_into:
        raise RequestRefusedError(422, "action_forbidden", "The conversation has been merged")
    return conversation


def _update(call: Call, conversation_id: str) -> Json:
    """Set values of conversation attributes."""
    conversation = call.intercom.store.conversation(conversation_id)
    values = call.data.get("custom_attributes", {})
    if not isinstance(values, dict):
        raise InvalidParameterError("custom_attributes must be an object")
    known = [attribute for attribute in call.intercom.store.attributes() if not attribute.archived]
    for name, value in values.items():
        _check_value(name, value, [attribute for attribute in known if attribute.name == name])
    call.intercom.workspace.set_attributes(conversation.id, values, app_package_code=OUR_APP)
    return _conversation(call, conversation.id)


def _check_value(name: str, value: object, named: list[ConversationAttribute]) -> None:
    if not named:
        raise InvalidParameterError(f"Custom attribute '{name}' does not exist")
    if len(named) > 1:
        raise RequestRefusedError(
            400, "INVALID_PARAMETER", f"There is more than one conversation attribute named '{name}'"
        )
    attribute = named[0]
    if value is None:
        return
    has_type = isinstance(value, DATA_TYPES.get(attribute.data_type, str))
    # In Python, a bool is also an int, but Intercom does not accept true as a number.
    is_bool_as_number = isinstance(value, bool) and attribute.data_type != "boolean"
    if not has_type or is_bool_as_number:
        raise InvalidParameterError(f"Custom attribute '{name}' must be a {attribute.data_type}")
    if attribute.data_type == "list" and value not in attribute.options:
        raise InvalidParameterError(f"'{value}' is not an option of '{name}'")


def _merge(call: Call, conversation_id: str) -> Json:
    call.require((2, 16))
    into = str(call.data.get("merge_into_conversation_id") or "")
    store = call.intercom.store
    conversation = store.conversation(conversation_id)
    try:
        store.conversation(into)
    except NotFoundError as error:
        raise RequestRefusedError(422, "merge_failed", "Primary conversation not found") from error
    if conversation.merged_into:
        raise RequestRefusedError(422, "merge_failed", "Secondary conversation has already been merged")
    try:
        call.intercom.workspace.merge(conversation_id, into)
    except InvalidActionError as error:
        raise RequestRefusedError(422, "merge_failed", "Cannot merge a conversation into itself") from error
    return _conversation(call, into)


def _redact(call: Call) -> Json:
    """Redact a part or a source: https://developers.intercom.com/docs/references/rest-api/api.intercom.io."""
    data = call.data
    kinds = {"conversation_part": "conversation_part_id", "source": "source_id"}
    if data.get("type") not in kinds:
        raise InvalidParameterError("type must be conversation_part or source")
    conversation_id = str(data.get("conversation_id") or "")
    given = str(data.get(kinds[data["type"]]) or "")
    if data["type"] == "source" and given == call.intercom.store.conversation(conversation_id).source.id:
        call.intercom.workspace.redact(conversation_id, "")
    elif data["type"] == "conversation_part" and given:
        call.intercom.workspace.redact(conversation_id, given)
    else:
        raise NotFoundError(f"There is no {data['type']} {given}")
    return _conversation(call, conversation_id)


def _delete(call: Call, conversation_id: str) -> Json:
    call.intercom.workspace.delete(conversation_id)
    return {"id": conversation_id, "object": "conversation", "deleted": True}


def _list_deleted_conversations(call: Call) -> Json:
    call.require((2, 16))
    deleted = call.intercom.store.deleted_conversations()
    return {
        "type": "list",
        "data": [
            {"id": conversation.id, "deleted_at": conversation.deleted_at, "metrics_retained": True}
            for conversation in deleted[:60]
        ],
        "total_count": len(deleted),
    }


# --- Conversation attributes ---


def _data_attributes(call: Call) -> Json:
    """List the attributes of conversations. This endpoint exists in all versions, and cannot create attributes."""
    call.require((2, 3))
    archived = call.query.get("include_archived") == ["true"]
    listed = call.intercom.store.attributes() if call.query.get("model") == ["conversation"] else []
    return {
        "type": "list",
        "data": [
            data_attribute_json(attribute) for attribute in listed if archived or not attribute.archived
        ],
    }


def _attributes(call: Call) -> Json:
    call.require((2, 16))
    listed = [attribute for attribute in call.intercom.store.attributes() if not attribute.archived]
    return {"type": "list", "data": [conversation_attribute_json(attribute) for attribute in listed]}


def _create_attribute(call: Call) -> Json:
    call.require((2, 16))
    data = call.data
    name, data_type = data.get("name"), data.get("data_type")
    if not isinstance(name, str) or not name.strip():
        raise InvalidParameterError("name is required")
    if not isinstance(data_type, str) or data_type not in DATA_TYPES:
        raise InvalidParameterError("data_type is invalid")
    if any(
        attribute.name == name and not attribute.archived for attribute in call.intercom.store.attributes()
    ):
        raise InvalidParameterError("A conversation attribute with that name already exists")
    created = call.intercom.store.add_attribute(
        name, data_type=data_type, description=str(data.get("description") or "")
    )
    return conversation_attribute_json(created)


def _attribute(call: Call, attribute_id: str) -> Json:
    call.require((2, 16))
    try:
        if call.method == "DELETE":
            call.intercom.store.archive_attribute(attribute_id)
        return conversation_attribute_json(call.intercom.store.attribute(attribute_id))
    except NotFoundError as error:
        raise RequestRefusedError(
            404, "conversation_attribute_not_found", "Conversation attribute not found"
        ) from error


# The first route that matches is used. So "deleted" and "attributes" come before the routes with an id.
_ROUTES: tuple[tuple[str, str, Callable[..., Json]], ...] = (
    ("GET", r"/me", _me),
    ("GET", r"/admins", _admins),
    ("GET", r"/teams", _teams),
    ("GET", r"/contacts/([^/]+)", _contact),
    ("GET", r"/data_attributes", _data_attributes),
    ("GET", r"/conversations/deleted", _list_deleted_conversations),
    ("GET", r"/conversations/attributes", _attributes),
    ("POST", r"/conversations/attributes", _create_attribute),
    ("POST", r"/conversations/redact", _redact),
    ("GET", r"/conversations/attributes/([^/]+)", _attribute),
    ("DELETE", r"/conversations/attributes/([^/]+)", _attribute),
    ("GET", r"/conversations/([^/]+)", _conversation),
    ("PUT", r"/conversations/([^/]+)", _update),
    ("DELETE", r"/conversations/([^/]+)", _delete),
    ("POST", r"/conversations/([^/]+)/reply", _reply),
    ("POST", r"/conversations/([^/]+)/parts", _change_state),
    ("POST", r"/conversations/([^/]+)/merge", _merge),
)
