"""Intercom's REST API for one workspace, in memory, for tests of what is posted: it can lose answers at any call."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import requests
import responses

URL = "https://intercom.test"
CODE = "bridge-x1y2"
OWNER, ADA, JULES = "100", "101", "102"

Answer = tuple[int, dict[str, str], str]


@dataclass
class FakeIntercom:
    """`calls` lists what was done: ("note", conversation, author), ("open", ...), ("assignment", ...)."""

    admins: dict[str, str] = field(
        default_factory=lambda: {OWNER: "owner@x.example", ADA: "ada@x.example", JULES: "Jules@X.example"}
    )
    conversations: dict[str, dict[str, Any]] = field(default_factory=dict)
    calls: list[tuple[str, ...]] = field(default_factory=list)
    # The files of each reply.
    uploads: list[list[dict[str, str]]] = field(default_factory=list)
    # Called with the kind of each call: before it is executed, and after that.
    before: Callable[[str], Answer | None] = lambda _kind: None
    after: Callable[[str], Answer | None] = lambda _kind: None

    def conversation(self, conversation_id: str) -> dict[str, Any]:
        empty: dict[str, Any] = {
            "id": conversation_id,
            "state": "open",
            "parts": [],
            "admin": None,
            "team": None,
        }
        return self.conversations.setdefault(conversation_id, empty)

    def bodies(self, conversation_id: str) -> list[str]:
        return [part["body"] for part in self.conversation(conversation_id)["parts"]]

    def add_part(self, conversation_id: str, **fields: Any) -> dict[str, Any]:
        parts = self.conversation(conversation_id)["parts"]
        part = {
            "id": str(5000 + len(parts)),
            "part_type": "comment",
            "created_at": int(time.time()),
            "author": {"type": "admin", "id": ADA},
            "app_package_code": None,
        } | fields
        parts.append(part)
        return part

    def handle(self, request: requests.PreparedRequest) -> Answer:
        path = str(request.url).removeprefix(URL)
        body: Any = request.body
        # A body with files is produced while it is sent.
        body = b"".join(body) if body and not isinstance(body, str | bytes) else body
        data = json.loads(body) if body else {}
        kind = data.get("message_type") or path.strip("/").split("/")[0]
        refused = self.before(kind)
        if refused is not None:
            return refused
        answer = self._execute(path, data)
        return self.after(kind) or answer

    def _execute(self, path: str, data: dict[str, Any]) -> Answer:
        if path == "/me":
            return 200, {}, json.dumps({"type": "admin", "id": OWNER, "app": {"id_code": "abcd1234"}})
        if path == "/admins":
            admins = [
                {"type": "admin", "id": key, "name": f"T{key}", "email": email}
                for key, email in self.admins.items()
            ]
            return 200, {}, json.dumps({"type": "admin.list", "admins": admins})
        found = re.fullmatch(r"/conversations/(\w+)(/reply|/parts)?", path)
        assert found, path
        if found[1] not in self.conversations:
            return error(404, "not_found", "Resource Not Found")
        row = self.conversations[found[1]]
        if found[2]:
            if data["admin_id"] not in self.admins:
                return error(404, "admin_not_found", "Admin not found")
            self.calls.append((data["message_type"], found[1], data["admin_id"]))
        if found[2] == "/reply":
            self.uploads.append(data.get("attachment_files", []))
            kind = "note" if data["message_type"] == "note" else "comment"
            body = data["body"].replace("<p>", '<p class="no-margin">')
            author = {"type": "admin", "id": data["admin_id"]}
            self.add_part(found[1], part_type=kind, body=body, author=author, app_package_code=CODE)
        elif data.get("message_type") == "open":
            row["state"] = "open"
        elif data.get("message_type") == "assignment":
            row[data["type"]] = data["assignee_id"]
        return 200, {}, json.dumps(self._to_json(row))

    @staticmethod
    def _to_json(row: dict[str, Any]) -> dict[str, Any]:
        return {
            "type": "conversation",
            "id": row["id"],
            "state": row["state"],
            "admin_assignee_id": row["admin"] and int(row["admin"]),
            "team_assignee_id": row["team"],
            "conversation_parts": {"conversation_parts": row["parts"], "total_count": len(row["parts"])},
        }


def error(status: int, code: str, message: str) -> Answer:
    return status, {}, json.dumps({"type": "error.list", "errors": [{"code": code, "message": message}]})


def once(kind: str, answer: Answer | None = None) -> Callable[[str], Answer | None]:
    """Return a function that gives this answer to the first call of the kind, or breaks the connection without one."""
    left = [kind]

    def meet(called: str) -> Answer | None:
        if called not in left:
            return None
        left.clear()
        if answer is None:
            raise requests.ReadTimeout("lost")
        return answer

    return meet


@contextmanager
def running() -> Iterator[FakeIntercom]:
    fake = FakeIntercom()
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        mock.add_passthru("http://127.0.0.1")
        for method in ("GET", "POST"):
            mock.add_callback(method, re.compile(f"{URL}/.*"), callback=fake.handle)
        yield fake
