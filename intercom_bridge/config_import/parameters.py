"""What the extension's parameters mean to us.

Their names and shapes are those of its documentation:
https://www.itophub.io/wiki/page?id=extensions:combodo-intercom-integration:ticket-creation-configuration
"""

from __future__ import annotations

import difflib
import zoneinfo
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from intercom_bridge.models.ticket_profile import STOCK_ATTRIBUTES
from intercom_bridge.models.workspace import PLACEHOLDER

from .source import ConfigError, Node, Source

SECRETS = {"sync_app.client_secret": "client_secret", "sync_app.access_token": "access_token"}
EXCLUDED_STATES = "sync_app.search_ticket.excluded_states"
FORMER_EXCLUDED_STATES = "sync_app.search_ticket.done_states"
ATTRIBUTES_MAPPING = "sync_app.ticket.attributes_mapping"
FORM_ATTRIBUTES = "sync_app.create_ticket.form_attributes"
# parameter -> field of the TicketProfile
PROFILE = {
    "sync_app.ticket.class": "ticket_class",
    ATTRIBUTES_MAPPING: "attributes_mapping",
    FORM_ATTRIBUTES: "form_attributes",
    EXCLUDED_STATES: "excluded_states",
    "sync_app.search_ticket.subtitle_attribute": "subtitle_attribute",
    "sync_app.view_ticket.details_attributes": "details_attributes",
    "sync_app.view_ticket.show_open_in_backoffice_button": "show_open_in_backoffice_button",
}
LISTS = {"form_attributes", "excluded_states", "details_attributes"}
# The chat widget within iTop, which is not ours to show.
OF_THE_WIDGET = {"api_key", "enabled_portals", "allowed_profiles", "sync_app.portal_url_maker_class"}
KNOWN = {"workspaces", FORMER_EXCLUDED_STATES, *SECRETS, *PROFILE, *OF_THE_WIDGET}


@dataclass(frozen=True)
class Given:
    """A value that the file gives for a field, and the line it stands on."""

    value: Any
    line: int = 0


@dataclass(frozen=True)
class WorkspaceParameters:
    workspace_id: str
    line: int
    # field of the Workspace -> what the file gives
    fields: Mapping[str, Given]


@dataclass(frozen=True)
class Parameters:
    """All that is in the file for us; `notes` are what a person should be told about the rest of it."""

    workspaces: tuple[WorkspaceParameters, ...]
    profile: Mapping[str, Given]
    itop: Mapping[str, Given] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read_parameters(source: Source) -> Parameters:
    """Raises ConfigError, naming the line, when a part that we need is a placeholder, missing or of the wrong kind."""
    parameters = {str(key): node for key, node in source.parameters.items()}
    _refuse_placeholders(parameters)
    notes: list[str] = []
    workspaces, used = _workspaces(parameters, notes)
    for name, node in parameters.items():
        if name in OF_THE_WIDGET:
            notes.append(f"{name} is not used here: it is about the chat widget within iTop.")
        elif name not in KNOWN and name not in used:
            notes.append(f"{name}{_at(node)} is not known here, and left out.{_question(name, KNOWN)}")
    return Parameters(workspaces, _profile(parameters, notes), _itop(source.settings, notes), tuple(notes))


def _meant(name: str, known: Iterable[str]) -> str:
    """The known parameter that somebody may have had in mind; "" when there is none like it."""
    names = {one: one for one in known} | {short: full for full, short in SECRETS.items()}
    found = difflib.get_close_matches(name, names, 1, 0.8)
    return names[found[0]] if found else ""


def _question(name: str, known: Iterable[str]) -> str:
    meant = _meant(name, known)
    return f" Did you mean {meant}?" if meant else ""


def _refuse_placeholders(parameters: Mapping[str, Node]) -> None:
    found = []
    for name, node in parameters.items():
        if name not in OF_THE_WIDGET:
            found += list(_placeholders(name, node))
    if found:
        listed = "".join(f"\n  {where}" for where in found)
        raise ConfigError(f"the file still holds placeholders of the documentation. Replace:{listed}")


def _placeholders(name: str, node: Node) -> Iterator[str]:
    last = name.rsplit(" / ", 1)[-1]
    if last.startswith(PLACEHOLDER):
        yield f"{last}{_at(node)}"
    if isinstance(node.value, str) and node.value.strip().startswith(PLACEHOLDER):
        # Placeholders are capitals and underscores; whatever else stands there is not printed.
        placeholder = node.value.strip().split()[0][:60]
        yield f"{placeholder}{_at(node)}, the value of {name}"
    for key, child in (node.children or {}).items():
        yield from _placeholders(f"{name} / {key}", child)


def _workspaces(
    parameters: Mapping[str, Node], notes: list[str]
) -> tuple[tuple[WorkspaceParameters, ...], set[str]]:
    node = parameters.get("workspaces")
    given: Mapping[str, Node]
    if node is None:
        given = {
            name: one
            for name, one in parameters.items()
            if name not in KNOWN and one.children is not None and "scope" in one.children
        }
    elif node.children is None:
        raise ConfigError("workspaces is not an array of workspaces.", node.line)
    else:
        given = {str(key): one for key, one in node.children.items()}
    if not given:
        raise ConfigError(
            "there is no workspace in the file. Expected: 'workspaces' => array('YOUR_WORKSPACE_ID' => "
            "array('scope' => 'SELECT ...', 'sync_app.client_secret' => '...', 'sync_app.access_token' => '...')).",
            node.line if node else 0,
        )
    shared = {
        name: Given(_secret(parameters[key], key), parameters[key].line)
        for key, name in SECRETS.items()
        if key in parameters and not _is_empty(parameters[key])
    }
    misspelt = {_meant(name, SECRETS) for name in parameters if name not in KNOWN and name not in given}
    return tuple(_workspace(key, one, shared, misspelt, notes) for key, one in given.items()), set(given)


def _workspace(
    workspace_id: str, node: Node, shared: Mapping[str, Given], misspelt: set[str], notes: list[str]
) -> WorkspaceParameters:
    """`misspelt`: what somebody meant to give for all workspaces. A note says so already."""
    members = node.children
    if members is None:
        # The widget's older form: the workspace and its scope, nothing else.
        members = {"scope": node}
    fields: dict[str, Given] = {}
    for key, one in members.items():
        if key == "scope":
            if not _is_empty(one):
                fields["scope"] = Given(_text(one, f"the scope of workspace {workspace_id}"), one.line)
        elif key in SECRETS:
            if not _is_empty(one):
                fields[SECRETS[str(key)]] = Given(
                    _secret(one, f"{key} of workspace {workspace_id}"), one.line
                )
        else:
            misspelt = {*misspelt, _meant(str(key), SECRETS)}
            notes.append(
                f"{key}{_at(one)} in workspace {workspace_id} is not known here, and left out."
                f"{_question(str(key), SECRETS)}"
            )
    for name, given in shared.items():
        fields.setdefault(name, given)
    for key, name in SECRETS.items():
        if name not in fields and key not in misspelt:
            notes.append(f"Workspace {workspace_id} has no {key} in the file. Enter it in the admin.")
    return WorkspaceParameters(workspace_id, node.line, fields)


def _profile(parameters: Mapping[str, Node], notes: list[str]) -> dict[str, Given]:
    found: dict[str, Given] = {}
    former = parameters.get(FORMER_EXCLUDED_STATES)
    if former is not None:
        found["excluded_states"] = Given(_list(former, FORMER_EXCLUDED_STATES), former.line)
        if EXCLUDED_STATES in parameters:
            notes.append(f"{FORMER_EXCLUDED_STATES} is the older name of {EXCLUDED_STATES}, which counts.")
    for key, name in PROFILE.items():
        node = parameters.get(key)
        if node is None:
            continue
        if name in LISTS:
            found[name] = Given(_list(node, key), node.line)
        elif name == "attributes_mapping":
            found[name] = Given(_mapping(node, notes), node.line)
        elif name == "show_open_in_backoffice_button":
            found[name] = Given(_boolean(node, key), node.line)
        elif not _is_empty(node):
            found[name] = Given(_text(node, key), node.line)
    return found


def _mapping(node: Node, notes: list[str]) -> dict[str, str]:
    members = node.children
    if members is None:
        if _is_empty(node):
            return {}
        raise ConfigError(f"{ATTRIBUTES_MAPPING} is not an array.", node.line)
    mapping: dict[str, str] = {}
    for key, one in members.items():
        if key not in STOCK_ATTRIBUTES:
            notes.append(
                f"{key}{_at(one)} in {ATTRIBUTES_MAPPING} is not known here, and left out. Known: "
                f"{', '.join(STOCK_ATTRIBUTES)}."
            )
        elif not _is_empty(one):
            mapping[str(key)] = _text(one, f"{key} in {ATTRIBUTES_MAPPING}")
    return mapping


def _itop(settings: Mapping[str, Node], notes: list[str]) -> dict[str, Given]:
    found: dict[str, Given] = {}
    if (node := settings.get("app_root_url")) and node.value:
        url = str(node.value).strip()
        if urlsplit(url).scheme in ("http", "https") and urlsplit(url).hostname and "%" not in url:
            found["url"] = Given(url, node.line)
        else:
            notes.append(f"app_root_url{_at(node)} is not a plain address, and left out.")
    if (node := settings.get("timezone")) and node.value:
        name = str(node.value).strip()
        try:
            zoneinfo.ZoneInfo(name)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            notes.append(f"timezone{_at(node)} is not known here, and left out. Set the iTop's in the admin.")
        else:
            found["time_zone"] = Given(name, node.line)
    return found


def _is_empty(node: Node) -> bool:
    """Nothing given: an empty element, '' or null. What is not in the file changes nothing."""
    return node.value is None or (isinstance(node.value, str) and not node.value.strip())


def _text(node: Node, what: str) -> str:
    if isinstance(node.value, int) and not isinstance(node.value, bool):
        return str(node.value)
    if not isinstance(node.value, str):
        raise ConfigError(f"{what} must be text.", node.line)
    text = node.value.strip()
    if text.startswith(("%env(", "%server(")):
        raise ConfigError(
            f"{what} is taken from iTop's environment (%...%), which cannot be seen from here. Write the value "
            "into a copy of the file and import that.",
            node.line,
        )
    return text


def _secret(node: Node, what: str) -> str:
    text = _text(node, what)
    if any(char.isspace() or not char.isprintable() for char in text):
        raise ConfigError(f"{what} has white space or unprintable characters in it.", node.line)
    return text


def _list(node: Node, what: str) -> list[str]:
    if _is_empty(node):
        return []
    if node.children is None:
        raise ConfigError(f"{what} must be a list, like array('title', 'description').", node.line)
    return [_text(one, f"each member of {what}") for one in node.children.values()]


def _boolean(node: Node, what: str) -> bool:
    value = node.value
    if isinstance(value, bool):
        return value
    if value in (0, 1):
        return bool(value)
    if isinstance(value, str) and value.strip().lower() in ("true", "1", "yes", "on"):
        return True
    if value is None or (isinstance(value, str) and value.strip().lower() in ("false", "0", "no", "off", "")):
        return False
    raise ConfigError(f"{what} is neither true nor false.", node.line)


def _at(node: Node) -> str:
    return f" (line {node.line})" if node.line else ""
