"""Authenticate accounts (by token, by login and password, or by HTTP Basic), and check their permissions."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping

from .store import Row, Store

ADMINISTRATOR = "Administrator"
REST = "REST Services User"
PORTAL = "Portal user"
SUPPORT = "Support Agent"


class LoginRefusedError(Exception):
    """iTop answers with code 1 and this text."""


class BadUserError(Exception):
    """The token account is disabled: iTop answers with two words of plain text (recording 018)."""


def authenticate(store: Store, headers: Mapping[str, str], form: Mapping[str, str]) -> Row:
    """Return the account of a request. Raise LoginRefusedError or BadUserError."""
    token = headers.get("Auth-Token") or form.get("auth_token")
    if token:
        user = _by_token(store, token)
        if user is not None and user["status"] == "disabled":
            raise BadUserError
    elif "auth_user" in form:
        user = by_password(store, form["auth_user"], form.get("auth_pwd", ""))
    else:
        user = _by_basic(store, headers.get("Authorization", ""))
    if user is None:
        raise LoginRefusedError("Error: Invalid login")
    profiles = profiles_of(store, user)
    if PORTAL in profiles:
        raise LoginRefusedError("Error: Portal user is not allowed")
    if REST not in profiles:
        raise LoginRefusedError(
            "Error: This user is not authorized to use the web services. "
            f"(The profile {REST} is required to access the REST web services)"
        )
    return user


def _by_token(store: Store, token: str) -> Row | None:
    for user in store.all("UserToken"):
        if user["auth_token"] and hmac.compare_digest(user["auth_token"].encode(), token.encode()):
            return user
    return None


def by_password(store: Store, login: str, password: str) -> Row | None:
    for user in store.all("UserLocal"):
        if user["login"] == login and user["status"] == "enabled" and user["password"]:
            return user if hmac.compare_digest(user["password"].encode(), password.encode()) else None
    return None


def _by_basic(store: Store, header: str) -> Row | None:
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        login, _, password = base64.b64decode(encoded).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return by_password(store, login, password)


def profiles_of(store: Store, user: Row) -> frozenset[str]:
    links = store.find(f"SELECT URP_UserProfile WHERE userid = {int(user['id'])}")[1]
    return frozenset(str(store.value(link, "profile")) for link in links)


def may(store: Store, user: Row, action: str, class_name: str) -> bool:
    """Return whether an account has a right on a class. ``action`` is reading, creating, modifying or deleting.

    Only Administrators may read accounts, pictures in texts (recordings 229 and 231), and changes. Other accounts may
    use changes within a query, but the query may not return them (recordings 214 to 219).
    """
    profiles = profiles_of(store, user)
    if ADMINISTRATOR in profiles:
        return True
    if not profiles - {REST}:
        return False
    if store.model.is_a(class_name, "User") or class_name.startswith(("URP_", "CMDBChange", "InlineImage")):
        return False
    return action == "reading" or (SUPPORT in profiles and class_name in ("UserRequest", "Attachment"))


def organizations_of(store: Store, user: Row) -> frozenset[int]:
    """Return the organizations to which an account is limited, including those below them. Empty means no limit."""
    query = (
        "SELECT o FROM Organization AS o JOIN Organization AS r ON o.parent_id BELOW r.id "
        f"JOIN URP_UserOrg AS u ON u.allowed_org_id = r.id WHERE u.userid = {int(user['id'])}"
    )
    return frozenset(int(row["id"]) for row in store.find(query)[1])


def sees(row: Row, organizations: frozenset[int]) -> bool:
    """Return whether an account that is limited to organizations may see an object."""
    if row["finalclass"] == "Organization":
        code = "id"
    else:
        code = "item_org_id" if "item_org_id" in row else "org_id"
    return not organizations or code not in row or row[code] in organizations


def query_arguments(store: Store, user: Row) -> dict[str, str | int]:
    """Return the values of OQL's placeholders for an account, such as ``current_contact->email``."""
    found: dict[str, str | int] = {
        "current_user_id": user["id"],
        "current_contact_id": user["contactid"] or 0,
    }
    contact = store.load("Person", user["contactid"] or 0)
    for name, row in (("current_user", user), ("current_contact", contact)):
        if row is None:
            continue
        for code, attribute in store.model.attributes(row["finalclass"]).items():
            if attribute.kind not in ("links", "secret", "blob", "log"):
                found[f"{name}->{code}"] = store.value(row, code) or (0 if attribute.is_number else "")
    return found
