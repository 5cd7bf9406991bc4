"""Interpret the extension's parameters.

Their names and shapes are those of its documentation:
https://www.itophub.io/wiki/page?id=extensions:combodo-intercom-integration:ticket-creation-configuration
"""

import difflib
import zoneinfo
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from intercom_bridge.config_import.values import ConfigError, Source, SourceValue, parse_boolean
from intercom_bridge.models.ticket_profile import STOCK_ATTRIBUTES
from intercom_bridge.models.workspace import PLACEHOLDER

SECRETS: Final = {"sync_app.client_secret": "client_secret", "sync_app.access_token": "access_token"}
EXCLUDED_STATES: Final = "sync_app.search_ticket.excluded_states"
FORMER_EXCLUDED_STATES: Final = "sync_app.search_ticket.done_states"
ATTRIBUTES_MAPPING: Final = "sync_app.ticket.attributes_mapping"
FORM_ATTRIBUTES: Final = "sync_app.create_ticket.form_attributes"
# Parameter -> field of the TicketProfile.
PROFILE: Final = {
    "sync_app.ticket.class": "ticket_class",
    ATTRIBUTES_MAPPING: "attributes_mapping",
    FORM_ATTRIBUTES: "form_attributes",
    EXCLUDED_STATES: "excluded_states",
    "sync_app.search_ticket.subtitle_attribute": "subtitle_attribute",
    "sync_app.view_ticket.details_attributes": "details_attributes",
    "sync_app.view_ticket.show_open_in_backoffice_button": "show_open_in_backoffice_button",
}
LISTS: Final = {"form_attributes", "excluded_states", "details_attributes"}
# Parameter of the chat widget inside iTop -> field of the Messenger.
WIDGET: Final = {"enabled_portals": "pages", "allowed_profiles": "allowed_profiles"}
# The workspace's ID in the oldest form of the file, which had one workspace.
WIDGET_WORKSPACE: Final = "api_key"
UNUSED: Final = {WIDGET_WORKSPACE, "sync_app.portal_url_maker_class"}
KNOWN: Final = {"workspaces", FORMER_EXCLUDED_STATES, *SECRETS, *PROFILE, *WIDGET, *UNUSED}


@dataclass(frozen=True)
class WorkspaceParameters:
    """One workspace of the file; `fields` are named like the model's."""

    workspace_id: str
    line: int
    fields: Mapping[str, SourceValue]


@dataclass(frozen=True)
class Parameters:
    """The values to import, by field of our models. `notes` list everything else in the file."""

    workspaces: tuple[WorkspaceParameters, ...]
    profile: Mapping[str, SourceValue]
    itop: Mapping[str, SourceValue]
    messenger: Mapping[str, SourceValue]
    notes: list[str]


def read_parameters(source: Source) -> Parameters:
    """Interpret a file. Raise ConfigError if a required part is missing, invalid or a placeholder."""
    parameters = {str(name): value for name, value in source.parameters.items()}
    _reject_placeholders(parameters)
    notes: list[str] = []
    workspaces = _read_workspaces(parameters, notes)
    workspace_ids = {workspace.workspace_id for workspace in workspaces}
    for name, value in parameters.items():
        if name == WIDGET_WORKSPACE and value.value not in workspace_ids:
            notes.append(
                f"{name}{value.position} is not used. It named the workspace of the chat widget, and is no secret."
            )
        elif name not in KNOWN and name not in workspace_ids:
            notes.append(_unknown(name, value, KNOWN))
    return Parameters(
        workspaces,
        _read_profile(parameters, notes),
        _read_itop(source.settings, notes),
        _read_messenger(parameters),
        notes,
    )


def _intended(name: str, known: Iterable[str]) -> str:
    """Return the known parameter that a misspelt name probably means; "" if there is none."""
    names = {full: full for full in known} | {short: full for full, short in SECRETS.items()}
    similar = difflib.get_close_matches(name, names, 1, 0.8)
    return names[similar[0]] if similar else ""


def _unknown(name: str, value: SourceValue, known: Iterable[str], where: str = "") -> str:
    intended = _intended(name, known)
    suggestion = f" Did you mean {intended}?" if intended else ""
    return f"{name}{value.position}{where} is unknown, and ignored.{suggestion}"


def _reject_placeholders(parameters: Mapping[str, SourceValue]) -> None:
    placeholders = [
        description
        for name, value in parameters.items()
        if name not in UNUSED
        for description in _placeholders(name, name, value)
    ]
    if placeholders:
        listed = "".join(f"\n  {description}" for description in placeholders)
        raise ConfigError(f"the file still contains placeholders of the documentation. Replace:{listed}")


def _placeholders(path: str, name: str, value: SourceValue) -> Iterator[str]:
    if name.startswith(PLACEHOLDER):
        yield f"{name}{value.position}"
    if isinstance(value.value, str) and value.value.strip().startswith(PLACEHOLDER):
        # A placeholder ends at the first space. The text after it may be a secret.
        placeholder = value.value.strip().split()[0][:60]
        yield f"{placeholder}{value.position}, the value of {path}"
    for key, member in (value.members or {}).items():
        yield from _placeholders(f"{path} / {key}", str(key), member)


def _read_workspaces(
    parameters: Mapping[str, SourceValue], notes: list[str]
) -> tuple[WorkspaceParameters, ...]:
    listed = parameters.get("workspaces")
    workspaces: Mapping[str, SourceValue]
    if listed is None:
        # The form without the outer array.
        workspaces = {
            name: value
            for name, value in parameters.items()
            if name not in KNOWN and value.members is not None and "scope" in value.members
        }
    elif listed.members is None:
        raise ConfigError("workspaces is not an array of workspaces.", listed.line)
    else:
        workspaces = {str(key): value for key, value in listed.members.items()}
    single = parameters.get(WIDGET_WORKSPACE)
    if not workspaces and listed is None and single is not None and not single.is_empty:
        workspace_id = _text(single, WIDGET_WORKSPACE)
        if not workspace_id.startswith(PLACEHOLDER):
            workspaces = {workspace_id: SourceValue("SELECT Organization", single.line)}
    if not workspaces:
        raise ConfigError(
            "there is no workspace in the file. Expected: 'workspaces' => array('YOUR_WORKSPACE_ID' => "
            "array('scope' => 'SELECT ...', 'sync_app.client_secret' => '...', 'sync_app.access_token' => '...')).",
            listed.line if listed else 0,
        )
    shared = _read_secrets(parameters)
    misspelt = {
        _intended(name, SECRETS) for name in parameters if name not in KNOWN and name not in workspaces
    }
    return tuple(
        _read_workspace(workspace_id, value, shared, misspelt, notes)
        for workspace_id, value in workspaces.items()
    )


def _read_workspace(
    workspace_id: str,
    value: SourceValue,
    shared: Mapping[str, SourceValue],
    misspelt: set[str],
    notes: list[str],
) -> WorkspaceParameters:
    """Read one workspace. `misspelt` are secrets whose misspelt names already have a note, for all workspaces."""
    # In the widget's older form the value is the scope itself.
    members = {"scope": value} if value.members is None else value.members
    fields = {**shared, **_read_secrets(members, f" of workspace {workspace_id}")}
    for key, member in members.items():
        if key == "scope" and not member.is_empty:
            scope = _text(member, f"the scope of workspace {workspace_id}")
            fields["scope"] = SourceValue(scope, member.line)
        elif key != "scope" and key not in SECRETS:
            misspelt = {*misspelt, _intended(str(key), SECRETS)}
            notes.append(_unknown(str(key), member, SECRETS, f" in workspace {workspace_id}"))
    for key, name in SECRETS.items():
        if name not in fields and key not in misspelt:
            notes.append(f"Workspace {workspace_id} has no {key} in the file. Enter it in the admin.")
    return WorkspaceParameters(workspace_id, value.line, fields)


def _read_secrets(members: Mapping[Any, SourceValue], where: str = "") -> dict[str, SourceValue]:
    return {
        field_name: SourceValue(_secret(members[name], f"{name}{where}"), members[name].line)
        for name, field_name in SECRETS.items()
        if name in members and not members[name].is_empty
    }


def _read_profile(parameters: Mapping[str, SourceValue], notes: list[str]) -> dict[str, SourceValue]:
    profile: dict[str, SourceValue] = {}
    former = parameters.get(FORMER_EXCLUDED_STATES)
    if former is not None:
        profile["excluded_states"] = SourceValue(_list(former, FORMER_EXCLUDED_STATES), former.line)
        if EXCLUDED_STATES in parameters:
            notes.append(
                f"{FORMER_EXCLUDED_STATES} is ignored: it is the former name of {EXCLUDED_STATES}, which is set too."
            )
    for name, field_name in PROFILE.items():
        value = parameters.get(name)
        if value is None:
            continue
        converted: Any
        if field_name in LISTS:
            converted = _list(value, name)
        elif name == ATTRIBUTES_MAPPING:
            converted = _mapping(value, notes)
        elif field_name == "show_open_in_backoffice_button":
            converted = _boolean(value, name)
        elif value.is_empty:
            continue
        else:
            converted = _text(value, name)
        profile[field_name] = SourceValue(converted, value.line)
    return profile


def _mapping(value: SourceValue, notes: list[str]) -> dict[str, str]:
    if value.is_empty:
        return {}
    if value.members is None:
        raise ConfigError(f"{ATTRIBUTES_MAPPING} is not an array.", value.line)
    mapping: dict[str, str] = {}
    for key, member in value.members.items():
        if key not in STOCK_ATTRIBUTES:
            notes.append(
                f"{key}{member.position} in {ATTRIBUTES_MAPPING} is unknown, and ignored. Supported: "
                f"{', '.join(STOCK_ATTRIBUTES)}."
            )
        elif not member.is_empty:
            mapping[str(key)] = _text(member, f"{key} in {ATTRIBUTES_MAPPING}")
    return mapping


def _read_messenger(parameters: Mapping[str, SourceValue]) -> dict[str, SourceValue]:
    """Return the Messenger's fields that the chat widget's parameters set; {} if the file has none."""
    return {
        field_name: SourceValue(_list(parameters[name], name), parameters[name].line)
        for name, field_name in WIDGET.items()
        if name in parameters
    }


def _read_itop(settings: Mapping[str, SourceValue], notes: list[str]) -> dict[str, SourceValue]:
    itop: dict[str, SourceValue] = {}
    if (value := settings.get("app_root_url")) and value.value:
        url = str(value.value).strip()
        if urlsplit(url).scheme in ("http", "https") and urlsplit(url).hostname and "%" not in url:
            itop["url"] = SourceValue(url, value.line)
        else:
            notes.append(f"app_root_url{value.position} is not a plain URL, and ignored.")
    if (value := settings.get("timezone")) and value.value:
        name = str(value.value).strip()
        try:
            zoneinfo.ZoneInfo(name)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            notes.append(
                f"timezone{value.position} is not a known time zone, and ignored. Set iTop's time zone in the admin."
            )
        else:
            itop["time_zone"] = SourceValue(name, value.line)
    return itop


def _text(value: SourceValue, description: str) -> str:
    if isinstance(value.value, int) and not isinstance(value.value, bool):
        return str(value.value)
    if not isinstance(value.value, str):
        raise ConfigError(f"{description} must be text.", value.line)
    text = value.value.strip()
    if text.startswith(("%env(", "%server(")):
        raise ConfigError(
            f"{description} refers to iTop's environment (%...%), which is not available here. Write the value into a "
            "copy of the file and import that.",
            value.line,
        )
    return text


def _secret(value: SourceValue, description: str) -> str:
    text = _text(value, description)
    if any(char.isspace() or not char.isprintable() for char in text):
        raise ConfigError(f"{description} contains white space or unprintable characters.", value.line)
    return text


def _list(value: SourceValue, description: str) -> list[str]:
    if value.is_empty:
        return []
    if value.members is None:
        raise ConfigError(f"{description} must be a list, like array('title', 'description').", value.line)
    return [_text(member, f"each member of {description}") for member in value.members.values()]


def _boolean(value: SourceValue, description: str) -> bool:
    parsed = parse_boolean("" if value.is_empty else str(value.value))
    if parsed is None:
        raise ConfigError(f"{description} is neither true nor false.", value.line)
    return parsed
