"""Every address that takes signed requests, the former addresses of the PHP extension included."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from intercom_bridge.intercom.signature import canvas_signature, webhook_signature
from tests.teammate import ADA, ALICE, WORKSPACE, conversation, notification, part

PHP = "/pages/exec.php?exec_module=combodo-intercom-integration&exec_page="


class SignedAddress(NamedTuple):
    """An address, the header with its signature, and a valid body with the key that names the workspace."""

    path: str
    header: str
    sign: Callable[[bytes, str], str]
    make_body: Callable[[], dict[str, Any]]
    workspace_key: str


def _canvas_body() -> dict[str, Any]:
    return {"workspace_id": WORKSPACE, "admin": ADA, "contact": ALICE, "conversation": conversation()}


def _webhook_body() -> dict[str, Any]:
    return notification(part(1, "<p>x</p>"))


def _canvas(path: str) -> SignedAddress:
    return SignedAddress(path, "X-Body-Signature", canvas_signature, _canvas_body, "workspace_id")


def _webhook(path: str) -> SignedAddress:
    return SignedAddress(path, "X-Hub-Signature", webhook_signature, _webhook_body, "app_id")


ADDRESSES = [
    _canvas("/canvas-kit/initialize"),
    _canvas("/canvas-kit/submit"),
    _webhook("/webhooks/intercom"),
    _canvas(f"{PHP}incoming-canvas-kits.php&operation=initialize-conversation-details"),
    _canvas(f"{PHP}incoming-canvas-kits.php&operation=submit-conversation-details&auth_token=abc"),
    _webhook(f"{PHP}incoming-webhooks.php&auth_token=abc"),
]
IDS = [
    "canvas-initialize",
    "canvas-submit",
    "webhooks",
    "php-canvas-initialize",
    "php-canvas-submit",
    "php-webhooks",
]
