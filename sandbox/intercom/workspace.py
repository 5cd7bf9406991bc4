"""A workspace: people write messages, the bridge gets notifications, and a teammate uses the panel."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from . import markup
from .files import Addresses, File, reference
from .http_out import send
from .shapes import Json, Shapes, admin_json, contact_json, encode
from .store import Contact, Conversation, Part, Store
from .webhooks import Webhooks

# How long Intercom waits for a canvas. This is not documented; two apps in production rely on ten seconds.
CANVAS_SECONDS = 10.0
MAX_PARTS = 500
OUR_APP = "itop-bridge-k3x9"  # the app_package_code of the bridge's own posts

# (author, part type) -> the topic of the notification
TOPIC_OF = {
    ("contact", "comment"): "conversation.user.replied",
    ("admin", "comment"): "conversation.admin.replied",
    ("admin", "note"): "conversation.admin.noted",
    ("admin", "assignment"): "conversation.admin.replied",
    ("admin", "close"): "conversation.admin.closed",
    ("admin", "open"): "conversation.admin.opened",
    ("admin", "snoozed"): "conversation.admin.snoozed",
    ("admin", "assign_and_reopen"): "conversation.admin.open.assigned",
    ("bot", "comment"): "conversation.operator.replied",
}


class InvalidActionError(ValueError):
    """The action is not possible. The text says why."""


@dataclass(frozen=True)
class CanvasAnswer:
    """The bridge's response to a canvas request. Without a response, `status` is 0 and `trouble` says why.

    `canvas` is None if the response contains no canvas.
    """

    status: int
    milliseconds: int
    text: str
    trouble: str
    request: Json

    @property
    def body(self) -> Any:
        try:
            return json.loads(self.text)
        except ValueError:
            return None

    @property
    def canvas(self) -> Json | None:
        body = self.body
        canvas = body.get("canvas") if isinstance(body, dict) else None
        return canvas if isinstance(canvas, dict) else None

    def to_json(self) -> Json:
        return {
            "status": self.status,
            "milliseconds": self.milliseconds,
            "trouble": self.trouble,
            "body": self.body,
            "text": self.text if self.body is None else "",
            "size": len(self.text.encode("utf-8", "replace")),
        }


class Workspace:
    """An Intercom workspace with our app installed.

    `bridge_url` is the bridge's address, "" without a bridge. `origin` is the address from which files are downloaded.
    """

    def __init__(
        self,
        store: Store,
        *,
        bridge_url: str,
        workspace_id: str,
        secret: str,
        origin: str = "",
        region: str = "US",
        api_version: str = "2.14",
        retry_seconds: float = 60.0,
    ) -> None:
        self.store = store
        self.workspace_id = workspace_id
        self.secret = secret
        self.region = region
        self.api_version = api_version
        self.bridge_url = bridge_url.rstrip("/")
        # How many parts a canvas request contains. Intercom does not document this number.
        self.parts_in_canvas = MAX_PARTS
        self.addresses = Addresses(workspace_id, origin, store.file)
        self.shapes = Shapes(store, workspace_id, self.addresses)
        self.webhooks = Webhooks(
            address=f"{self.bridge_url}/webhooks/intercom" if bridge_url else "",
            workspace_id=workspace_id,
            secret=secret,
            retry_seconds=retry_seconds,
        )

    @property
    def notifies_in_plain_text(self) -> bool:
        """Whether the bodies in notifications are plain text. They are since API version 2.15."""
        return tuple(int(number) for number in self.api_version.split(".")) >= (2, 15)

    # --- People write ---

    def write(
        self,
        conversation_id: str,
        *,
        author: str = "contact",
        author_id: str = "",
        body: str = "",
        html: str = "",
        part_type: str = "",
        note: bool = False,
        attachments: Iterable[File | str] = (),
        pictures: Iterable[File] = (),
        app_package_code: str | None = None,
        created_at: int | None = None,
    ) -> Part:
        """Write a message into a conversation and notify the bridge.

        `author` is "contact", "admin" or "bot". If `author_id` is "", the author is the conversation's first contact or
        the first teammate. `body` is typed text, `html` is posted HTML, and `pictures` are pasted after the text. An
        attachment can be only a name: its content is then an example. Raise InvalidActionError or NotFoundError.
        """
        conversation = self.store.conversation(conversation_id)
        files = tuple(attachments)
        kind = part_type or ("note" if note else "comment")
        if (author, kind) not in TOPIC_OF:
            raise InvalidActionError(f"A {author} cannot write a {kind}.")
        text = self._text(body, html, pictures)
        if not text and not files and kind in ("comment", "note"):
            raise InvalidActionError("The message is empty.")
        if author == "contact":
            person = self.store.contact(author_id or conversation.contact_ids[0])
            author_type, author_id = person.role, person.id
        elif author == "admin":
            author_type, author_id = "admin", self.store.admin(author_id or self.store.admins()[0].id).id
        else:
            author_type, author_id = "bot", "9608700"
        part = self.store.add_part(
            conversation_id,
            part_type=kind,
            body=text or None,
            author_type=author_type,
            author_id=author_id,
            attachments=files,
            app_package_code=app_package_code,
            created_at=created_at,
        )
        self.notify(TOPIC_OF[author, kind], conversation_id, [part])
        return part

    def _text(self, body: str, html: str, pictures: Iterable[File]) -> str:
        text = markup.normalise(html) if html else markup.from_text(body)
        return text + "".join(reference(self.store.add_file(picture)) for picture in pictures)

    def begin(
        self,
        contact: Contact,
        *,
        body: str = "",
        html: str = "",
        attachments: Iterable[File | str] = (),
        pictures: Iterable[File] = (),
    ) -> Conversation:
        """Start a conversation as a customer and notify the bridge. The message is the source; there is no part yet."""
        text = self._text(body, html, pictures)
        files = tuple(attachments)
        if not text and not files:
            raise InvalidActionError("The message is empty.")
        conversation = self.store.start_conversation([contact.id], text, attachments=files)
        self.notify("conversation.user.created", conversation.id, [])
        return conversation

    def redact(self, conversation_id: str, part_id: str) -> Part:
        """Redact a part as a teammate, and notify the bridge. The id "" means the source. Raise NotFoundError."""
        part = self.store.redact(conversation_id, part_id)
        # Intercom does not document what the notification of a redacted source contains. Here it contains no part.
        self.notify("conversation_part.redacted", conversation_id, [part] if part_id else [])
        return part

    def change_state(
        self,
        conversation_id: str,
        kind: str,
        *,
        author_id: str = "",
        html: str = "",
        snoozed_until: int | None = None,
        assigned_to: tuple[str, str] | None = None,
        app_package_code: str | None = None,
    ) -> Part:
        """Open, close, snooze or assign a conversation as a teammate, and notify the bridge.

        `kind` is open, close, snoozed or assignment. `assigned_to` is ("admin" or "team", id); the id "0" means nobody.
        Raise NotFoundError.
        """
        conversation = self.store.conversation(conversation_id)
        part_type = kind
        # Assigning a closed conversation opens it.
        if kind == "assignment" and conversation.state == "closed":
            part_type = "assign_and_reopen"
        part = self.store.add_part(
            conversation_id,
            part_type=part_type,
            body=(markup.normalise(html) or None) if html else None,
            author_type="admin",
            author_id=self.store.admin(author_id or self.store.admins()[0].id).id,
            app_package_code=app_package_code,
            assigned_to=assigned_to,
        )
        if kind == "snoozed":
            self.store.update_conversation(conversation_id, state="snoozed", snoozed_until=snoozed_until)
        topic = TOPIC_OF["admin", part_type]
        if part_type == "assignment" and part.body is None:
            topic = "conversation.admin.assigned"
        self.notify(topic, conversation_id, [part])
        return part

    def set_attributes(
        self, conversation_id: str, values: Mapping[str, Any], *, app_package_code: str | None = None
    ) -> None:
        """Set conversation attributes. The bridge is not notified, because Intercom has no topic for this."""
        conversation = self.store.conversation(conversation_id)
        changed = {
            name for name, value in values.items() if conversation.custom_attributes.get(name) != value
        }
        # Intercom adds one part for each attribute that changes.
        for _ in changed:
            self.store.add_part(
                conversation_id,
                part_type="conversation_attribute_updated_by_admin",
                body=None,
                author_type="admin",
                author_id=self.store.admins()[0].id,
                app_package_code=app_package_code,
            )
        self.store.update_conversation(
            conversation_id, custom_attributes={**conversation.custom_attributes, **values}
        )

    def delete(self, conversation_id: str) -> None:
        """Delete a conversation and notify the bridge. Raise NotFoundError."""
        self.store.delete_conversation(conversation_id)
        self.webhooks.notify(
            "conversation.deleted", {"type": "conversation", "conversation_id": conversation_id}
        )

    def merge(self, conversation_id: str, into: str) -> None:
        """Merge a conversation into another one, as a teammate.

        Each conversation gets a part about the merge, which does not name the other conversation. The merged
        conversation is closed. Raise InvalidActionError or NotFoundError.
        """
        if conversation_id == into:
            raise InvalidActionError("A conversation cannot be merged into itself.")
        secondary, primary = self.store.conversation(conversation_id), self.store.conversation(into)
        admin, now = self.store.admins()[0], int(time.time())
        for conversation, part_type in (
            (secondary, "merged_secondary_conversation"),
            (primary, "merged_primary_conversation"),
        ):
            self.store.add_part(
                conversation.id,
                part_type=part_type,
                body=None,
                author_type="admin",
                author_id=admin.id,
                created_at=now,
            )
        self.store.update_conversation(conversation_id, state="closed", snoozed_until=None, merged_into=into)

    def merge_contacts(self, merged: Contact, into: Contact, *, is_named: bool = True) -> None:
        """Merge a lead into a user, as Intercom does when the lead signs up.

        `is_named` is whether the notification names the lead. In older API versions it does not. Raise NotFoundError.
        """
        self.store.merge_contacts(merged.id, into.id)
        item = contact_json(into, self.workspace_id)
        if is_named:
            item |= {"merged_from": {"type": "contact", "id": merged.id}}
        self.webhooks.notify("contact.merged", item)

    def notify(self, topic: str, conversation_id: str, parts: list[Part]) -> None:
        """Send a notification about a conversation. Of the conversation's parts, it contains only these."""
        item = self.shapes.conversation(
            self.store.conversation(conversation_id),
            parts,
            total_count=len(parts),
            plain=self.notifies_in_plain_text,
            iso_statistics=True,
        )
        self.webhooks.notify(topic, item)

    # --- The panel ---

    def canvas(
        self,
        conversation_id: str,
        *,
        admin_id: str = "",
        contact_id: str = "",
        component_id: str = "",
        input_values: Mapping[str, Any] | None = None,
        current_canvas: Mapping[str, Any] | None = None,
    ) -> CanvasAnswer:
        """Send a signed canvas request, as for a teammate who opens the panel or clicks a component in it.

        With `component_id` it is a submit request, otherwise an initialize request. Raise NotFoundError.
        """
        conversation = self.store.conversation(conversation_id)
        admin = self.store.admin(admin_id or self.store.admins()[0].id)
        contact = self.store.contact(contact_id or conversation.contact_ids[0])
        request: Json = {
            "workspace_id": self.workspace_id,
            "workspace_region": self.region,
            "admin": admin_json(admin, self.store.teams()),
            "conversation": self.conversation_json(conversation, most_parts=self.parts_in_canvas),
            "contact": contact_json(contact, self.workspace_id),
        }
        if component_id:
            request |= {
                "component_id": component_id,
                "input_values": dict(input_values or {}),
                "current_canvas": dict(current_canvas or {}),
            }
        return self.send_canvas_request("submit" if component_id else "initialize", request)

    def send_canvas_request(self, operation: str, request: Json) -> CanvasAnswer:
        body = encode(request)
        signature = hmac.new(self.secret.encode(), body, hashlib.sha256).hexdigest()
        outcome = send(
            "POST",
            f"{self.bridge_url}/canvas-kit/{operation}",
            body,
            {"Content-Type": "application/json", "X-Body-Signature": signature},
            time_limit=CANVAS_SECONDS,
        )
        return CanvasAnswer(
            status=outcome.status,
            milliseconds=round(outcome.seconds * 1000),
            text=outcome.body.decode("utf-8", "replace"),
            trouble=outcome.trouble,
            request=request,
        )

    def conversation_json(
        self, conversation: Conversation, *, most_parts: int = MAX_PARTS, plain: bool = False
    ) -> Json:
        return self.shapes.conversation(
            conversation,
            self.store.parts(conversation.id, newest=most_parts),
            total_count=self.store.count_parts(conversation.id),
            plain=plain,
        )
