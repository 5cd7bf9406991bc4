"""The bridge's own configuration file: export_config writes it without secrets, import_config reads it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import models
from hypothesis import given
from hypothesis import strategies as st

from intercom_bridge.config_import import BridgeFile, ConfigError, export
from intercom_bridge.config_import.bridge_file import LISTS
from intercom_bridge.models import EventRules, ItopInstance, Messenger, PersonMatch, TicketProfile, Workspace
from intercom_bridge.models.encryption import SecretField

pytestmark = pytest.mark.django_db

SECRETS = {
    "DESK_TOKEN": "the-account-token",
    "ACME_SECRET": "the-client-secret",
    "ACME_TOKEN": "the-access-token",
    "ACME_MESSENGER": "the-messenger-secret",
}
MODELS = {
    "itops": ItopInstance,
    "profiles": TicketProfile,
    "workspaces": Workspace,
    "messengers": Messenger,
    "event_rules": EventRules,
}


@pytest.fixture
def workspace() -> Workspace:
    """Return a configuration in which no value is the default."""
    itop = ItopInstance.objects.create(
        name="Service desk",
        url="https://itop.example.com/itop",
        user="bridge",
        token=SECRETS["DESK_TOKEN"],
        password="the-password",
        time_zone="Europe/Paris",
        portal_url="https://portal.example.com/{class}/{id}",
    )
    profile = TicketProfile.objects.create(
        name="Incidents",
        ticket_class="Incident",
        attributes_mapping={"public_log": "customer_log"},
        form_attributes=["title", "description", "impact"],
        defaults={"urgency": "3"},
        excluded_states=["closed"],
        subtitle_attribute="service_id",
        details_attributes=["status", "agent_id"],
        show_open_in_backoffice_button=False,
    )
    workspace = Workspace.objects.create(
        workspace_id="abcd1234",
        name="Acmé",
        enabled=False,
        region="EU",
        scope="SELECT Organization WHERE name = 'Acmé'",
        client_secret=SECRETS["ACME_SECRET"],
        access_token=SECRETS["ACME_TOKEN"],
        itop=itop,
        profile=profile,
        external_id_attribute="employee_number",
        default_caller_id=41,
        language="fr",
        announce_tickets=False,
        announce_failures=False,
        time_zone="Europe/Paris",
        keep_payloads_days=7,
        keep_failed_payloads_days=14,
        copies_files=False,
        copies_files_of_notes=True,
        max_file_mb=30,
        max_ticket_files_mb=200,
        forbidden_file_types="exe",
        file_hosts="files.acme.example",
        shows_pictures_in_log=False,
        deletes_redacted_files=False,
        verification="itop",
    )
    Messenger.objects.create(
        workspace=workspace,
        enabled=True,
        position=3,
        api_secret=SECRETS["ACME_MESSENGER"],
        pages=["backoffice"],
        allowed_profiles=["Portal user"],
        sends_company=False,
        sends_language=False,
        person_attributes={"Number": "employee_number"},
    )
    EventRules.objects.create(
        workspace=workspace,
        public_entry="reply",
        customer_entry="nothing",
        private_entry="note",
        status="nothing",
        assignment="note",
        pending="reply",
        resolved="reply",
        closed="note",
        reopened="note",
        files="with_reply",
        shows_agent_names=False,
        post_as_admin_id="207",
        reopens_on=["public_entry", "resolved"],
        assign_to="team",
        assign_to_team_id="7",
        reopens_tickets=True,
        updates_attributes=False,
    )
    return workspace


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., str]:
    def load(document: Any, *options: str) -> str:
        file = tmp_path / "bridge.json"
        file.write_text(document if isinstance(document, str) else json.dumps(document), encoding="utf-8")
        out = io.StringIO()
        call_command("import_config", str(file), *options, stdout=out, no_color=True)
        return out.getvalue()

    return load


Load = Callable[..., str]


def exported() -> Any:
    return json.loads(export())


def with_secrets(document: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name, secret in SECRETS.items():
        monkeypatch.setenv(name, secret)
    document["itops"][0]["token_env"] = "DESK_TOKEN"
    document["workspaces"][0] |= {"client_secret_env": "ACME_SECRET", "access_token_env": "ACME_TOKEN"}
    document["messengers"][0]["api_secret_env"] = "ACME_MESSENGER"
    return document


def test_an_export_reproduces_the_configuration(
    workspace: Workspace, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = export()
    for model in (Workspace, TicketProfile, ItopInstance):
        model.objects.all().delete()
    load(with_secrets(json.loads(before), monkeypatch))
    assert export() == before
    there = Workspace.objects.select_related("itop").get()
    assert (there.client_secret.reveal(), there.access_token.reveal()) == (
        SECRETS["ACME_SECRET"],
        SECRETS["ACME_TOKEN"],
    )
    assert there.itop.token.reveal() == SECRETS["DESK_TOKEN"]


@pytest.mark.parametrize("name", MODELS)
def test_an_export_contains_everything_that_an_admin_sets(workspace: Workspace, name: str) -> None:
    row = exported()[name][0]
    for column in MODELS[name]._meta.concrete_fields:
        is_set_by_an_admin = (
            column.editable and not column.primary_key and not isinstance(column, SecretField)
        )
        if column.name in ("previous_client_secret_until", "next_api_secret_from"):
            assert column.name not in row  # useless without its secret
        elif is_set_by_an_admin:
            assert column.name in row
            # The fixture has no defaults, so a value that was not exported differs.
            assert row[column.name] not in (column.get_default(), None)
        else:
            assert column.name not in row


def test_an_export_contains_no_secret(workspace: Workspace, tmp_path: Path) -> None:
    file = tmp_path / "bridge.json"
    call_command("export_config", str(file), stdout=io.StringIO())
    out = io.StringIO()
    call_command("export_config", stdout=out)
    assert out.getvalue() == file.read_text(encoding="utf-8") == export()
    rows: list[models.Model] = [workspace, workspace.itop]
    for row in rows:
        for column in row._meta.concrete_fields:
            if isinstance(column, SecretField):
                secret = getattr(row, column.name)
                assert secret.ciphertext not in export() or not secret
                assert secret.reveal() not in export() or not secret


def test_importing_an_export_changes_nothing(workspace: Workspace, load: Load) -> None:
    printed = load(export())
    assert "Nothing changed" in printed
    assert " set" not in printed.replace("is set", "")


def test_values_set_in_the_admin_are_kept_without_overwrite(workspace: Workspace, load: Load) -> None:
    document = exported()
    document["workspaces"][0]["language"] = "de"
    assert "The file says: de" in load(document)
    assert Workspace.objects.get().language == "fr"
    assert "de (was fr)" in load(document, "--overwrite")
    assert Workspace.objects.get().language == "de"


def test_a_dry_run_writes_nothing(workspace: Workspace, load: Load) -> None:
    document = exported()
    document["workspaces"][0]["language"] = "de"
    before = export()
    assert "Dry run, nothing was written" in load(document, "--overwrite", "--dry-run")
    assert export() == before


def test_rows_that_are_not_in_the_file_are_reported_and_kept(workspace: Workspace, load: Load) -> None:
    TicketProfile.objects.create(name="Another")
    document = exported()
    document["profiles"] = [row for row in document["profiles"] if row["name"] != "Another"]
    assert "The ticket profile Another is not in the file. It is left as it is." in load(document)
    assert TicketProfile.objects.count() == 2


def test_another_url_discards_what_was_learned_about_the_itop(workspace: Workspace, load: Load) -> None:
    itop = workspace.itop
    itop.learn(is_administrator=True)
    PersonMatch.objects.create(
        workspace=workspace, contact_id="c1", itop=itop, person_id=7, org_id=1, how=PersonMatch.How.CHOSEN
    )
    document = exported()
    load(document, "--overwrite")
    assert PersonMatch.objects.count() == 1
    document["itops"][0]["url"] = "https://staging.example.com/itop"
    load(document, "--overwrite")
    itop.refresh_from_db()
    assert (itop.url, itop.is_administrator) == ("https://staging.example.com/itop", None)
    assert PersonMatch.objects.count() == 0


@pytest.mark.parametrize(
    ("rows", "changes"),
    [
        ("itops", {"url": "https://staging.example.com/itop"}),
        ("itops", {"user": "somebody"}),
        ("profiles", {"ticket_class": "UserRequest"}),
        ("workspaces", {"profile": "The other"}),
        ("workspaces", {"itop": "The other"}),
    ],
)
def test_an_import_makes_a_worker_look_for_the_extension_s_attributes_again(
    workspace: Workspace, load: Load, rows: str, changes: dict[str, str]
) -> None:
    """Another iTop, account or ticket class may not have these attributes."""
    TicketProfile.objects.create(name="The other", ticket_class="UserRequest")
    ItopInstance.objects.create(name="The other", url="https://other.example.com", token="x")
    workspace.learn_attributes(exist=True)
    document = exported()
    load(document, "--overwrite")
    workspace.refresh_from_db()
    assert workspace.has_extension_attributes is True
    document[rows][0] |= changes
    load(document, "--overwrite")
    workspace.refresh_from_db()
    assert workspace.has_extension_attributes is None


def test_missing_secrets_of_a_workspace_are_reported(workspace: Workspace, load: Load) -> None:
    document = exported()
    document["workspaces"][0] |= {"workspace_id": "efgh5678"}
    assert "enter them in the admin" in load(document)
    assert not Workspace.objects.get(workspace_id="efgh5678").client_secret


def test_without_a_token_a_new_itop_is_refused(workspace: Workspace, load: Load) -> None:
    document = exported()
    document["itops"][0]["name"] = "Another desk"
    with pytest.raises(CommandError, match=r'Another desk.*name the variable as "token_env"'):
        load(document)
    assert ItopInstance.objects.count() == 1


def test_a_secret_in_the_file_is_refused_without_repeating_it(workspace: Workspace, load: Load) -> None:
    document = exported()
    document["workspaces"][0]["access_token"] = "dG9rOjEyMzQ1"
    with pytest.raises(CommandError, match='name the variable as "access_token_env"') as refusal:
        load(document)
    assert "dG9rOjEyMzQ1" not in str(refusal.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(version=2), "has version 2, and this bridge reads version 1"),
        (lambda d: d.update(format="x"), "not a configuration of the bridge"),
        (lambda d: d.update(itops={}), "value of itops is not a list"),
        (lambda d: d.update(workspace=[]), r"no list called workspace. Did you mean workspaces\?"),
        (lambda d: d["itops"].append("x"), "ntry 2 of itops is not an object"),
        (lambda d: d["profiles"].append({}), "ntry 2 of profiles has no name"),
        (lambda d: d["workspaces"][0].update(enabled="yes"), 'enabled must be true or false, not "yes"'),
        (lambda d: d["workspaces"][0].update(name=7), "name must be text, not 7"),
        (lambda d: d["workspaces"][0].update(region="MARS"), "region.*MARS"),
        (lambda d: d["workspaces"][0].update(scope="DROP"), "not an OQL query"),
        (lambda d: d["workspaces"][0].update(itop="Nobody"), 'there is no itop called "Nobody"'),
        (lambda d: d["workspaces"][0].update(profile=None), "there is no profile called null"),
        (lambda d: d["workspaces"][0].update(name="a\0b"), "contains a character that cannot be stored"),
        (lambda d: d["workspaces"][0].update(name="a\ud800b"), "contains a character that cannot be stored"),
        (lambda d: d["profiles"][0].update(form_attributes="title"), "Write a list of codes"),
        (
            lambda d: d["workspaces"].append({"workspace_id": "new1", "itop": "Service desk"}),
            "serve everybody",
        ),
        (lambda d: d["itops"][0].update(token_env="NOT_SET"), "variable NOT_SET is not set"),
        (lambda d: d["itops"][0].update(token_env=5), "must name an environment variable"),
        (
            lambda d: d["workspaces"][0].update(previous_client_secret_env="ACME_SECRET"),
            "previous_client_secret_env is not imported. .* enter .* and its date in the admin",
        ),
        (lambda d: d["workspaces"][0].update(previous_client_secret="x"), "is not imported"),
        (lambda d: d["workspaces"][0].update(previous_client_secret_until="2026-12-01"), "is not imported"),
        *(
            (
                lambda d, name=name, key=key: d[name].append({key: d[name][0][key]}),
                rf"ntry 1 of {name} .* and entry 2 of {name} .* have the same {key}\. Remove one",
            )
            for name, key in (("itops", "name"), ("profiles", "name"), ("workspaces", "workspace_id"))
        ),
    ],
)
def test_an_invalid_file_is_refused_and_nothing_is_written(
    workspace: Workspace, load: Load, change: Callable[[Any], Any], message: str
) -> None:
    document = exported()
    document["itops"][0]["portal_url"] = "https://other.example.com/"
    change(document)
    before = export()
    with pytest.raises(CommandError, match=message):
        load(document, "--overwrite")
    assert export() == before


def test_an_unknown_name_is_ignored_and_reported(workspace: Workspace, load: Load) -> None:
    document = exported()
    document["workspaces"][0]["langage"] = "de"
    assert (
        "langage in entry 1 of workspaces (abcd1234) is unknown, and ignored. Did you mean language?"
        in load(document)
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "Line 1: this is not JSON"),
        ('{"format": "intercom-itop-bridge",\n "version": 1,}', "Line 2: this is not JSON"),
        ("{" * 100_000, "this is not JSON|nested too deep"),
        ('{"a": ' * 100_000, "nested too deep"),
        ('{"format": "x", "format": "y"}', "n object contains format twice"),
    ],
    ids=["cut off", "trailing comma", "braces only", "nested too deep", "duplicate name"],
)
def test_a_file_that_is_not_a_configuration_is_refused(load: Load, text: str, message: str) -> None:
    with pytest.raises(CommandError, match=message):
        load(text)


def test_options_of_the_other_formats_are_refused(workspace: Workspace, load: Load) -> None:
    with pytest.raises(CommandError, match="cannot be used with a file that export_config wrote"):
        load(export(), "--itop-url", "https://itop.example.com")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = ("name", "url", "workspace_id", "scope", "itop", "profile", "enabled", "token_env", "defaults")
ENTRY = st.fixed_dictionaries({}, optional=dict.fromkeys(NAMES, JSON))


@given(
    itops=st.lists(ENTRY, max_size=2),
    profiles=st.lists(ENTRY, max_size=2),
    workspaces=st.lists(ENTRY, max_size=2),
)
def test_any_values_are_imported_or_refused_with_a_message(
    itops: list[Any], profiles: list[Any], workspaces: list[Any]
) -> None:
    document = {"format": "intercom-itop-bridge", "version": 1}
    lists = {"itops": itops, "profiles": profiles, "workspaces": workspaces}
    try:
        BridgeFile(json.dumps(document | lists)).apply(dry_run=True)
    except ConfigError as error:
        assert str(error)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (" ", "is not set, or empty"),
        ("PUT_YOUR_TOKEN_HERE", "holds a placeholder"),
        ("auth_token=abc", "Copy only what follows auth_token="),
        ("two words", "variable DESK_TOKEN contains white space"),
        ("a\u200bb", "variable DESK_TOKEN contains white space"),
    ],
)
def test_a_variable_without_a_secret_is_refused_with_its_entry(
    workspace: Workspace, load: Load, monkeypatch: pytest.MonkeyPatch, value: str, message: str
) -> None:
    document = with_secrets(exported(), monkeypatch)
    monkeypatch.setenv("DESK_TOKEN", value)
    with pytest.raises(CommandError, match=f"ntry 1 of itops .*{message}") as refusal:
        load(document)
    assert value == " " or value not in str(refusal.value)


def test_a_file_without_rows_is_reported_as_empty(load: Load) -> None:
    empty = {"format": "intercom-itop-bridge", "version": 1}
    assert "Nothing changed: the file contains no rows." in load(empty)
    assert "Dry run, nothing was written: the file contains no rows." in load(empty, "--dry-run")


def test_an_imported_client_secret_counts_as_unused(
    workspace: Workspace, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = with_secrets(exported(), monkeypatch)
    workspace.note_use("client_secret")
    load(document, "--overwrite")
    assert Workspace.objects.get().client_secret_used_at
    monkeypatch.setenv("ACME_SECRET", "the-next-client-secret")
    load(document, "--overwrite")
    assert Workspace.objects.get().client_secret_used_at is None


def test_concurrent_changes_of_other_columns_are_kept(
    workspace: Workspace, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, access_token = workspace.itop.token.renewed(), workspace.access_token.renewed()
    values = {"token": token, "is_administrator": True}
    monkeypatch.setattr(ItopInstance, "clean", lambda _: ItopInstance.objects.update(**values))
    others = {"access_token": access_token, "app_package_code": "x"}
    monkeypatch.setattr(Workspace, "clean", lambda _: Workspace.objects.update(**others))
    document = exported()
    document["itops"][0]["time_zone"] = "UTC"
    document["workspaces"][0]["language"] = "de"
    load(document, "--overwrite")
    after = Workspace.objects.select_related("itop").get()
    assert (after.language, after.itop.time_zone) == ("de", "UTC")
    assert (after.access_token, after.itop.token) == (access_token, token)
    assert (after.app_package_code, after.itop.is_administrator) == ("x", True)


@pytest.mark.parametrize("tail", ["", "/", "/pages/UI.php", "/webservices/rest.php/"])
def test_any_spelling_of_a_url_is_normalised(workspace: Workspace, load: Load, tail: str) -> None:
    document = exported()
    load(document)
    for host in ("one", "two"):
        document["itops"][0]["url"] = f"https://{host}.example.com/itop{tail}"
        assert "changed" in load(document)
        assert ItopInstance.objects.get().url == f"https://{host}.example.com/itop"
    assert "Nothing changed" in load(document)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("character", ["\x00", "\\\x00", "\ud800"])
def test_a_name_that_cannot_be_stored_is_refused(
    workspace: Workspace, load: Load, name: str, character: str
) -> None:
    document = exported()
    key = LISTS[name][1]
    document[name][0][key] += character
    with pytest.raises(CommandError, match=f"Entry 1 of {name}: {key} contains a character"):
        load(document)


def test_a_name_with_an_escape_sequence_as_text_is_imported(workspace: Workspace, load: Load) -> None:
    """JSON writes the backslash twice. The text contains no NUL."""
    document = exported()
    document["profiles"][0]["name"] = "\\u0000"
    load(document)
    assert TicketProfile.objects.filter(name="\\u0000").exists()


def test_rules_for_changes_in_itop_are_imported_and_kept_if_an_admin_changed_them(
    workspace: Workspace, load: Load
) -> None:
    document = exported()
    EventRules.objects.all().delete()
    assert "Rules for changes in iTop abcd1234 (new)" in load(document)
    assert EventRules.objects.get().reopens_on == ["public_entry", "resolved"]
    document["event_rules"][0] |= {"public_entry": "note", "pending": "nothing"}
    EventRules.objects.update(pending="note")
    load(document)
    rules = EventRules.objects.get()
    assert (rules.public_entry, rules.pending) == ("note", "note")
    document["event_rules"][0]["private_entry"] = "reply"
    with pytest.raises(CommandError, match="private entry"):
        load(document)
