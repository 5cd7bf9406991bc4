"""Convert the stand-in's data to Intercom's JSON: for REST responses, notifications and Canvas Kit requests.

The JSON follows Intercom's OpenAPI description (2.14) and captured notifications. These differ in one point: the dates
in the statistics are numbers in REST responses, and ISO 8601 strings in notifications.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Callable, Iterable
from typing import Any

from .files import Addresses, StoredFile
from .markup import to_text
from .store import Admin, Contact, Conversation, ConversationAttribute, Part, Store, Team

Json = dict[str, Any]

BOT = {"type": "bot", "id": "9608700", "name": "Fin", "email": "operator+{workspace}@intercom.io"}


def encode(data: Any) -> bytes:
    """Return JSON as Rails writes and signs it: UTF-8, with `<`, `>` and `&` escaped."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    text = re.sub("[<>&\u2028\u2029\ud800-\udfff]", lambda found: f"\\u{ord(found.group()):04x}", text)
    return text.encode()


def admin_json(admin: Admin, teams: Iterable[Team] = ()) -> Json:
    return {
        "type": "admin",
        "id": admin.id,
        "name": admin.name,
        "email": admin.email,
        "job_title": "Support engineer",
        "away_mode_enabled": False,
        "away_mode_reassign": False,
        "has_inbox_seat": True,
        "avatar": {"type": "avatar", "image_url": None},
        "team_ids": [int(team.id) for team in teams if admin.id in team.admin_ids],
    }


def team_json(team: Team) -> Json:
    return {
        "type": "team",
        "id": team.id,
        "name": team.name,
        "admin_ids": [int(admin_id) for admin_id in team.admin_ids],
    }


def data_attribute_json(attribute: ConversationAttribute) -> Json:
    """Return a conversation attribute as `GET /data_attributes` does."""
    return {
        "id": int(attribute.id),
        "type": "data_attribute",
        "name": attribute.name,
        "full_name": f"custom_attributes.{attribute.name}",
        "label": attribute.name,
        "description": attribute.description,
        "data_type": attribute.data_type,
        "options": list(attribute.options) or None,
        "api_writable": True,
        "ui_writable": True,
        "messenger_writable": False,
        "custom": True,
        "archived": attribute.archived,
        "created_at": attribute.created_at,
        "updated_at": attribute.created_at,
        "model": "conversation",
    }


def conversation_attribute_json(attribute: ConversationAttribute) -> Json:
    """Return a conversation attribute as `GET /conversations/attributes` does, from version 2.16 on."""
    return {
        "type": "conversation_attribute",
        "id": int(attribute.id),
        "name": attribute.name,
        "description": attribute.description,
        "data_type": attribute.data_type,
        "required": False,
        "visible_to_team_ids": [],
        "archived": attribute.archived,
        "created_at": attribute.created_at,
        "updated_at": attribute.created_at,
    }


def contact_json(contact: Contact, workspace_id: str) -> Json:
    def nothing(what: str) -> Json:
        url = f"/contacts/{contact.id}/{what}"
        return {"type": "list", "data": [], "url": url, "total_count": 0, "has_more": False}

    return {
        "type": "contact",
        "id": contact.id,
        "workspace_id": workspace_id,
        "external_id": contact.external_id,
        "role": contact.role,
        "email": contact.email or None,
        "phone": None,
        "name": contact.name,
        "avatar": None,
        "owner_id": None,
        "created_at": contact.created_at,
        "updated_at": contact.created_at,
        "signed_up_at": contact.created_at if contact.role == "user" else None,
        "last_seen_at": contact.created_at,
        "unsubscribed_from_emails": False,
        "custom_attributes": dict(contact.custom_attributes),
        "location": {"type": "location", "country": "Ireland", "region": "Dublin", "city": "Dublin"},
        "tags": nothing("tags"),
        "companies": nothing("companies"),
    }


def attachment_json(file: StoredFile, address: str) -> Json:
    return {
        "type": "upload",
        "name": file.name,
        "url": address,
        "content_type": file.content_type,
        "filesize": file.size,
        "width": file.width,
        "height": file.height,
    }


class Shapes:
    """Convert the data of one workspace to Intercom's JSON."""

    def __init__(self, store: Store, workspace_id: str, addresses: Addresses) -> None:
        self._store = store
        self._addresses = addresses
        self._workspace_id = workspace_id

    def author(self, part: Part) -> Json:
        if part.author_type == "admin":
            admin = self._store.author(part.author_id)
            return {
                "id": admin.id,
                "type": "admin",
                "name": admin.name,
                "email": admin.email,
                "from_ai_agent": False,
                "is_ai_answer": False,
            }
        if part.author_type == "bot":
            return BOT | {"email": BOT["email"].format(workspace=self._workspace_id)}
        contact = self._store.contact(part.author_id)
        return {"type": contact.role, "id": contact.id, "name": contact.name, "email": contact.email}

    def attachments(self, part: Part) -> list[Json]:
        return [attachment_json(file, self._addresses.of(file)) for file in part.attachments]

    def body(self, part: Part, plain: bool) -> str | None:
        """Return a part's body. In plain text, a marker stands for each picture and for each file."""
        if not plain:
            return None if part.body is None else self._addresses.fill_in(part.body)
        if part.body is None and not part.attachments:
            return None
        lines = [to_text(part.body)] if part.body else []
        return "\n".join(lines + ["[Attachment]"] * len(part.attachments))

    def part(self, part: Part, *, plain: bool = False) -> Json:
        return {
            "type": "conversation_part",
            "id": part.id,
            "part_type": part.part_type,
            "body": self.body(part, plain),
            "created_at": part.created_at,
            "updated_at": part.created_at,
            "notified_at": part.created_at,
            "assigned_to": (
                {"type": part.assigned_to[0], "id": part.assigned_to[1]} if part.assigned_to else None
            ),
            "author": self.author(part),
            "attachments": self.attachments(part),
            "external_id": None,
            "redacted": part.redacted,
            "metadata": {},
            "email_message_metadata": None,
            "state": "open",
            "tags": [],
            "event_details": {},
            "app_package_code": part.app_package_code,
        }

    def conversation(
        self,
        conversation: Conversation,
        parts: Iterable[Part],
        *,
        total_count: int,
        plain: bool = False,
        iso_statistics: bool = False,
    ) -> Json:
        source = conversation.source
        teammates = {
            part.author_id for part in self._store.parts(conversation.id) if part.author_type == "admin"
        }
        statistics_date: Callable[[int], Any] = _iso if iso_statistics else int
        return {
            "type": "conversation",
            "id": conversation.id,
            "title": None,
            "created_at": conversation.created_at,
            "updated_at": conversation.updated_at,
            "queued_at": None,
            "snoozed_until": conversation.snoozed_until,
            "source": {
                "type": "conversation",
                "id": source.id,
                "delivered_as": "customer_initiated",
                "subject": "",
                "body": self.body(source, plain) or "",
                "author": self.author(source),
                "attachments": self.attachments(source),
                "url": "https://app.client.example/",
                "redacted": source.redacted,
            },
            "contacts": {
                "type": "contact.list",
                "contacts": [
                    {"type": "contact", "id": contact.id, "external_id": contact.external_id}
                    for contact in map(self._store.contact, conversation.contact_ids)
                ],
            },
            "first_contact_reply": {
                "created_at": conversation.created_at,
                "type": "conversation",
                "url": "https://app.client.example/",
            },
            "admin_assignee_id": _number(conversation.admin_assignee_id),
            "team_assignee_id": _number(conversation.team_assignee_id),
            "open": conversation.state != "closed",
            "state": conversation.state,
            "read": True,
            "tags": {"type": "tag.list", "tags": []},
            "priority": "not_priority",
            "sla_applied": None,
            "statistics": {
                "type": "conversation_statistics",
                "first_contact_reply_at": statistics_date(conversation.created_at),
                "last_contact_reply_at": statistics_date(conversation.updated_at),
                "count_reopens": 0,
                "count_assignments": 0,
                # Unlike `total_count` below, this number includes the source.
                "count_conversation_parts": self._store.count_parts(conversation.id) + 1,
            },
            "conversation_rating": None,
            "teammates": {
                "type": "admin.list",
                "admins": [{"type": "admin", "id": admin} for admin in sorted(teammates)],
            },
            "custom_attributes": dict(conversation.custom_attributes),
            "topics": {"type": "topic.list", "topics": [], "total_count": 0},
            "ticket": None,
            "linked_objects": {"type": "list", "data": [], "total_count": 0, "has_more": False},
            "ai_agent": None,
            "ai_agent_participated": False,
            "conversation_parts": {
                "type": "conversation_part.list",
                "conversation_parts": [self.part(part, plain=plain) for part in parts],
                "total_count": total_count,
            },
        }


def _number(assignee_id: str) -> int | None:
    return int(assignee_id) if assignee_id else None


def _iso(seconds: int) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.000+00:00")
