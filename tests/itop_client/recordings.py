"""Recorded exchanges with a real iTop, and replaying them over fake HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import responses

from itop_client import Client, Found, ItopObject

FOLDER = Path(__file__).parent.parent / "recordings" / "itop"
FILES_FOLDER = FOLDER.parent / "itop-files"
BASE = "https://itop.example/itop"
REST = f"{BASE}/webservices/rest.php"
TOKEN = "ITOP_USER_TOKEN"

# The operations that the client offers. Some recorded requests have none.
OPERATIONS = ("core/get", "core/create", "core/update", "core/apply_stimulus", "list_operations", "")


@dataclass(frozen=True)
class Recording:
    name: str
    request: Any
    status: int
    content_type: str
    body: str
    envelope: Any

    @property
    def operation(self) -> str:
        return str(self.request.get("operation", "")) if isinstance(self.request, dict) else ""

    def play(self, edge: responses.RequestsMock) -> None:
        edge.post(REST, body=self.body, status=self.status, content_type=self.content_type)


@cache
def recording(name: str, folder: Path = FOLDER) -> Recording:
    (file,) = folder.glob(f"{name}*.json")
    data = json.loads(file.read_text())
    envelope = data["response"]
    form = data["request"]["form"]
    return Recording(
        file.stem,
        form.get("json_data") if isinstance(form, dict) else None,
        data["status"],
        data["response_headers"]["Content-Type"],
        data.get("response_text") if envelope is None else json.dumps(envelope),
        envelope,
    )


def all_recordings() -> Iterator[Recording]:
    """Yield the recordings of the client's operations and of invalid requests."""
    for file in sorted(FOLDER.glob("*.json")):
        replayed = recording(file.stem)
        if replayed.operation in OPERATIONS or replayed.envelope.get("code") != 0:
            yield replayed


def repeat(client: Client, request: dict[str, Any]) -> Found | ItopObject | tuple[str, ...]:
    """Make the call that sends the recorded request."""
    request = dict(request)
    operation = request.pop("operation")
    arguments: dict[str, Any] = {"class_name": request["class"]} if "class" in request else {}
    arguments |= {name: request[name] for name in ("key", "stimulus", "fields", "comment") if name in request}
    if operation == "core/get":
        arguments |= {name: int(request[name]) for name in ("limit", "page") if name in request}
        if "output_fields" in request:
            arguments["fields"] = request["output_fields"].split(",")
        return client.get(**arguments)
    if "output_fields" in request:
        arguments["output_fields"] = request["output_fields"].split(",")
    calls: dict[str, Callable[..., ItopObject | tuple[str, ...]]] = {
        "core/create": client.create,
        "core/update": client.update,
        "core/apply_stimulus": client.apply_stimulus,
        "list_operations": client.list_operations,
    }
    return calls[operation](**arguments)


def sent(call: responses.Call) -> dict[str, Any]:
    """Return the operation that was sent."""
    body = call.request.body
    form = parse_qs(body if isinstance(body, str) else (body or b"").decode())
    assert form["version"] == ["1.3"]
    operation: dict[str, Any] = json.loads(form["json_data"][0])
    return operation


def ok(*objects: tuple[str, int, dict[str, Any]], message: str | None = None) -> dict[str, Any]:
    """Return an envelope with code 0 as iTop writes it: numbers as text, an empty map as null."""
    by_name = {
        f"{name}::{number}": {"code": 0, "message": "", "class": name, "key": str(number), "fields": fields}
        for name, number, fields in objects
    }
    return {"code": 0, "message": message, "objects": by_name or None}


def found(*objects: tuple[str, int, dict[str, Any]], total: int | None = None) -> dict[str, Any]:
    return ok(*objects, message=f"Found: {len(objects) if total is None else total}")


def refused(message: str, code: int = 100) -> dict[str, Any]:
    return {"code": code, "message": message}
