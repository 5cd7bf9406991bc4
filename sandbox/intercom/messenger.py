"""The customers' side: the Messenger begins a conversation for the person in a token.

Messenger security is enforced, as on a workspace that has switched it on: without a valid token the request is refused
with 400 (https://developers.intercom.com/installing-intercom/web/identity-verification).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import jwt

from .shapes import Json
from .store import Contact
from .workspace import InvalidActionError

if TYPE_CHECKING:
    from .server import Intercom

SECRET = "sandbox-messenger-api-secret-0123456789"  # noqa: S105
# Attributes that every contact has, and claims that are not attributes.
_STANDARD = frozenset({"user_id", "name", "email", "phone", "company", "language_override"}) | {
    "iat",
    "exp",
    "nbf",
    "iss",
    "aud",
    "sub",
}


def begin(intercom: Intercom, data: Json) -> Json:
    """Begin a conversation: `{"app_id", "jwt", "body"}`. Raise InvalidActionError."""
    if data.get("app_id") != intercom.workspace.workspace_id:
        raise InvalidActionError("There is no workspace with this app_id.")
    conversation = intercom.workspace.begin(
        _contact(intercom, data.get("jwt")), body=str(data.get("body") or "")
    )
    return {"id": conversation.id}


def _contact(intercom: Intercom, token: object) -> Contact:
    """Return the contact of a token, with the token's data; create it at the first time."""
    try:
        claims = jwt.decode(str(token), SECRET, algorithms=["HS256"], options={"require": ["user_id", "exp"]})
    except jwt.InvalidTokenError as error:
        raise InvalidActionError(f"intercom_user_jwt is not valid: {error}") from error
    user_id = str(claims["user_id"])
    known = next((row for row in intercom.store.contacts() if row.external_id == user_id), None)
    contact = known or intercom.store.add_contact(external_id=user_id)
    return intercom.store.update_contact(
        replace(
            contact,
            name=str(claims.get("name") or ""),
            email=str(claims.get("email") or ""),
            custom_attributes={
                **contact.custom_attributes,
                **{name: value for name, value in claims.items() if name not in _STANDARD},
            },
        )
    )
