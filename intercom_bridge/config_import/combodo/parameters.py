"""Interpret the parameters of Combodo's PHP extension: turn them into values of our models' fields.

The extension's documentation describes the parameters:
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

# Parameter -> field of the Workspace.
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
# The fields of the TicketProfile that are lists.
LISTS: Final = {"form_attributes", "excluded_states", "details_attributes"}
# Parameter of the chat widget inside iTop -> field of the Messenger.
WIDGET: Final = {"enabled_portals": "pages", "allowed_profiles": "allowed_profiles"}
# The ID of the only workspace, in the oldest form of the file.
WIDGET_WORKSPACE: Final = "api_key"
# The import can do without these parameters, so it accepts placeholders in them.
NOT_NEEDED: Final = {WIDGET_WORKSPACE, "sync_app.portal_url_maker_class"}
KNOWN: Final = {"workspaces", FORMER_EXCLUDED_STATES, *SECRETS, *PROFILE, *WIDGET, *NOT_NEEDED}


@dataclass(frozen=True)
class WorkspaceParameters:
    """One workspace of the file. `fields` are the values to import, by name of the Workspace's field."""

    workspace_id: str
    line: int
    fields: Mapping[str, SourceValue]


@dataclass(frozen=True)
class Parameters:
    """The values to import, by name of the model's field. `notes` are sentences about what is missing or ignored."""

    workspaces: tuple[WorkspaceParameters, ...]
    profile: Mapping[str, SourceValue]
    itop: Mapping[str, SourceValue]
    messenger: Mapping[str, SourceValue]
    notes: list[str]


def read_parameters(source: Source) -> Parameters:
    """Interpret the parameters. Raise ConfigError for an invalid value or a placeholder, and without a workspace."""
    parameters = {str(name): value for name, value in source.parameters.items()}
    _reject_placeholders(parameters)
    notes: list[str] = []
    workspaces = _read_workspaces(parameters, notes)
    workspace_ids = {workspace.workspace_id for workspace in workspaces}
    for name, value in parameters.items():
        if name == WIDGET_WORKSPACE and value.value not in workspace_ids:
            notes.append(
                f"{name}{value.position} is ignored. It is the workspace of the chat widget, not a secret."
            )
        elif name not in KNOWN and name not in workspace_ids:
            notes.append(_unknown_note(name, value, KNOWN))
    return Parameters(
        workspaces,
        _read_profile(parameters, notes),
        _read_itop(source.settings, notes),
        _read_messenger(parameters),
        notes,
    )


def _probable_name(misspelt: str, valid_names: Iterable[str]) -> str:
    """Return the parameter that a misspelt name probably means; "" if there is none.

    Secrets are also recognised without the prefix "sync_app.".
    """
    names = {name: name for name in valid_names} | {short: name for name, short in SECRETS.items()}
    similar = difflib.get_close_matches(misspelt, names, n=1, cutoff=0.8)
    return names[similar[0]] if similar else ""


def _unknown_note(name: str, value: SourceValue, valid_names: Iterable[str], where: str = "") -> str:
    probable_name = _probable_name(name, valid_names)
    suggestion = f" Did you mean {probable_name}?" if probable_name else ""
    return f"{name}{value.position}{where} is unknown, and ignored.{suggestion}"


def _reject_placeholders(parameters: Mapping[str, SourceValue]) -> None:
    placeholders = [
        description
        for name, value in parameters.items()
        if name not in NOT_NEEDED
        for description in _placeholders(name, name, value)
    ]
    if placeholders:
        listed = "".join(f"\n  {description}" for description in placeholders)
        raise ConfigError(f"the file still contains placeholders of the documentation. Replace:{listed}")


def _placeholders(path: str, name: str, value: SourceValue) -> Iterator[str]:
    """Describe each placeholder in a parameter and its members. `path` is like "workspaces / abcd1234 / scope"."""
    if name.startswith(PLACEHOLDER):
        yield f"{name}{value.position}"
    if isinstance(value.value, str) and value.value.strip().startswith(PLACEHOLDER):
        # Only the first word is quoted: a secret may have been added after the placeholder.
        placeholder = value.value.strip().split()[0][:60]
        yield f"{placeholder}{value.position}, the value of {path}"
    for key, member in (value.members or {}).items():
        yield from _placeholders(f"{path} / {key}", str(key), member)


def _read_workspaces(
    parameters: Mapping[str, SourceValue], notes: list[str]
) -> tuple[WorkspaceParameters, ...]:
    workspaces = _find_workspaces(parameters)
    if not workspaces:
        listed = parameters.get("workspaces")
        raise ConfigError(
            "there is no workspace in the file. Expected: 'workspaces' => array('YOUR_WORKSPACE_ID' => "
            "array('scope' => 'SELECT ...', 'sync_app.client_secret' => '...', 'sync_app.access_token' => '...')).",
            listed.line if listed else 0,
        )
    shared_secrets = _read_secrets(parameters)
    # `read_parameters` adds a note about each of these misspelt names.
    misspelt_secrets = {
        _probable_name(name, SECRETS) for name in parameters if name not in KNOWN and name not in workspaces
    }
    return tuple(
        _read_workspace(workspace_id, value, shared_secrets, misspelt_secrets, notes)
        for workspace_id, value in workspaces.items()
    )


def _find_workspaces(parameters: Mapping[str, SourceValue]) -> Mapping[str, SourceValue]:
    """Return the workspaces by ID. The file has a list of workspaces, a parameter for each workspace, or only an ID.

    A workspace is an array with its scope and secrets. In the chat widget's older form, it is the scope itself.
    """
    listed = parameters.get("workspaces")
    if listed is not None:
        if listed.members is None:
            raise ConfigError("workspaces is not an array of workspaces.", listed.line)
        return {str(key): value for key, value in listed.members.items()}
    workspaces = {
        name: value
        for name, value in parameters.items()
        if name not in KNOWN and value.members is not None and "scope" in value.members
    }
    only_id = parameters.get(WIDGET_WORKSPACE)
    if not workspaces and only_id is not None and not only_id.is_empty:
        workspace_id = _text(only_id, WIDGET_WORKSPACE)
        if not workspace_id.startswith(PLACEHOLDER):
            return {workspace_id: SourceValue("SELECT Organization", only_id.line)}
    return workspaces


def _read_workspace(
    workspace_id: str,
    value: SourceValue,
    shared_secrets: Mapping[str, SourceValue],
    misspelt_secrets: set[str],
    notes: list[str],
) -> WorkspaceParameters:
    """Read one workspace. Its own secrets take precedence over those that all workspaces of the file share.

    Do not write a note that one of the `misspelt_secrets` is missing: there is already a note about its misspelt name.
    """
    # In the chat widget's older form the value is the scope itself.
    members = {"scope": value} if value.members is None else value.members
    fields = {**shared_secrets, **_read_secrets(members, f" of workspace {workspace_id}")}
    scope = members.get("scope")
    if scope is not None and not scope.is_empty:
        fields["scope"] = SourceValue(_text(scope, f"the scope of workspace {workspace_id}"), scope.line)
    misspelt = set(misspelt_secrets)
    for key, member in members.items():
        if key not in ("scope", *SECRETS):
            misspelt.add(_probable_name(str(key), SECRETS))
            notes.append(_unknown_note(str(key), member, SECRETS, f" in workspace {workspace_id}"))
    for key, name in SECRETS.items():
        if name not in fields and key not in misspelt:
            notes.append(f"Workspace {workspace_id} has no {key} in the file. Enter it in the admin.")
    return WorkspaceParameters(workspace_id, value.line, fields)


def _read_secrets(members: Mapping[Any, SourceValue], where: str = "") -> dict[str, SourceValue]:
    """Return the secrets by name of the Workspace's field. In errors, `where` follows the name of the parameter."""
    secrets: dict[str, SourceValue] = {}
    for name, field_name in SECRETS.items():
        value = members.get(name)
        if value is not None and not value.is_empty:
            secrets[field_name] = SourceValue(_secret(value, f"{name}{where}"), value.line)
    return secrets


def _read_profile(parameters: Mapping[str, SourceValue], notes: list[str]) -> dict[str, SourceValue]:
    """Return the values, by name of the TicketProfile's field."""
    profile: dict[str, SourceValue] = {}
    former = parameters.get(FORMER_EXCLUDED_STATES)
    if former is not None:
        profile["excluded_states"] = SourceValue(_list(former, FORMER_EXCLUDED_STATES), former.line)
        if EXCLUDED_STATES in parameters:
            notes.append(
                f"{FORMER_EXCLUDED_STATES} is ignored: it is the former name of {EXCLUDED_STATES}, which is also set."
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
    """Return the values, by name of the ItopInstance's field. `settings` are members of iTop's $MySettings."""
    itop: dict[str, SourceValue] = {}
    if (value := settings.get("app_root_url")) and value.value:
        url = str(value.value).strip()
        # iTop replaces a placeholder like %server(HTTP_HOST)% with a part of its environment.
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
    """Return the value as text. Raise ConfigError, with this description of the value, if it is no text or number."""
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
