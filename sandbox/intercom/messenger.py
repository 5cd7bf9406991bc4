"""The Messenger: a customer starts a conversation. A signed token (JWT) says who the customer is.

Messenger security is enforced, as in a workspace that has switched it on. So a request without a valid token gets 400
(https://developers.intercom.com/installing-intercom/web/identity-verification).
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
    """Start a conversation. `data` has `app_id`, `jwt` and `body`. Raise InvalidActionError if one is not valid."""
    if data.get("app_id") != intercom.workspace.workspace_id:
        raise InvalidActionError("There is no workspace with this app_id.")
    conversation = intercom.workspace.begin(
        _contact(intercom, data.get("jwt")), body=str(data.get("body") or "")
    )
    return {"id": conversation.id}


def _contact(intercom: Intercom, token: object) -> Contact:
    """Return the contact whose user_id is in the token, updated with the token's data. Create it if it is unknown."""
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
