"""import_config with the configuration of the PHP extension: PHP and XML."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from django.core.management import CommandError, call_command
from pytest_django import Settings

from intercom_bridge.models import ItopInstance, Messenger, TicketProfile, Workspace

pytestmark = pytest.mark.django_db

URL = "https://itop.example.com/itop"
SECRET = "zyxwvuts-987654-321654-abcde-fghi"
TOKEN = "dG9rOjEyMzQ1Njc4OTA="
ITOP_TOKEN = "a59ff45c340eb355a59ff45c340eb355"

PHP = f"""'combodo-intercom-integration' => array(
	'workspaces' => array(
		'abcd1234' => array(
			'scope' => 'SELECT Organization WHERE name = \\'Demo\\'',
			'sync_app.client_secret' => '{SECRET}',
			'sync_app.access_token' => '{TOKEN}',
		),
	),
	'sync_app.ticket.class' => 'Incident',
	'sync_app.ticket.attributes_mapping' => array('public_log' => 'customer_log', 'shoe_size' => 'x'),
	'sync_app.create_ticket.form_attributes' => array('title', 'description', 'impact'),
	'sync_app.search_ticket.excluded_states' => array('closed'),
	'sync_app.search_ticket.subtitle_attribute' => 'service_id',
	'sync_app.view_ticket.details_attributes' => array('status', 'agent_id'),
	'sync_app.view_ticket.show_open_in_backoffice_button' => false,
	'enabled_portals' => array('itop-portal'),
	'allowed_profiles' => array(),
	'api_key' => 'PUT_YOUR_API_KEY_HERE',
	'sync_app.ticket.clas' => 'x',
),"""

XML = f"""<?xml version="1.0" encoding="UTF-8"?>
<itop_design version="3.1">
  <module_parameters>
    <parameters id="combodo-intercom-integration" _delta="define">
      <workspaces type="hash">
        <abcd1234 type="hash">
          <scope><![CDATA[SELECT Organization WHERE name = 'Demo']]></scope>
          <sync_app.client_secret>{SECRET}</sync_app.client_secret>
          <sync_app.access_token>{TOKEN}</sync_app.access_token>
        </abcd1234>
      </workspaces>
      <sync_app.ticket.class>Incident</sync_app.ticket.class>
      <sync_app.ticket.attributes_mapping type="hash">
        <public_log>customer_log</public_log>
      </sync_app.ticket.attributes_mapping>
      <sync_app.create_ticket.form_attributes type="array">
        <attribute>title</attribute><attribute>description</attribute><attribute>impact</attribute>
      </sync_app.create_ticket.form_attributes>
      <sync_app.search_ticket.excluded_states type="array">
        <state>closed</state>
      </sync_app.search_ticket.excluded_states>
      <sync_app.search_ticket.subtitle_attribute>service_id</sync_app.search_ticket.subtitle_attribute>
      <sync_app.view_ticket.details_attributes type="array">
        <a>status</a><a>agent_id</a>
      </sync_app.view_ticket.details_attributes>
      <sync_app.view_ticket.show_open_in_backoffice_button type="bool">
        false
      </sync_app.view_ticket.show_open_in_backoffice_button>
    </parameters>
  </module_parameters>
</itop_design>
"""

Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that imports a text as a file and returns the output. By default it names the iTop."""
    monkeypatch.setenv("ITOP_TOKEN", ITOP_TOKEN)

    def import_text(text: str, *options: str, bare: bool = False) -> str:
        file = tmp_path / "config"
        file.write_text(text, encoding="utf-8")
        if not bare:
            options = ("--itop-url", URL, "--itop-token-env", "ITOP_TOKEN", *options)
        out = io.StringIO()
        call_command("import_config", str(file), *options, stdout=out, no_color=True)
        printed = out.getvalue()
        for secret in (SECRET, TOKEN, ITOP_TOKEN):
            assert secret not in printed
        return re.sub(" {2,}", " ", printed)

    return import_text


def fragment(members: str) -> str:
    return f"'combodo-intercom-integration' => array(\n{members}\n)"


def rows() -> str:
    """Return all rows that an import can change, as they are stored."""
    return json.dumps(
        [
            list(model.objects.order_by("pk").values())
            for model in (ItopInstance, TicketProfile, Workspace, Messenger)
        ],
        default=lambda value: getattr(value, "ciphertext", str(value)),
    )


@pytest.mark.parametrize(
    "text",
    [PHP, XML, XML.replace('<workspaces type="hash">', "").replace("</workspaces>", "")],
    ids=["php", "xml", "xml without workspaces"],
)
def test_every_parameter_is_imported(run: Run, text: str) -> None:
    run(text)
    workspace = Workspace.objects.get()
    assert workspace.workspace_id == "abcd1234"
    assert workspace.scope == "SELECT Organization WHERE name = 'Demo'"
    assert workspace.client_secret.reveal() == SECRET
    assert workspace.access_token.reveal() == TOKEN
    assert (workspace.itop.url, workspace.itop.name) == (URL, "itop.example.com")
    assert workspace.itop.token.reveal() == ITOP_TOKEN
    profile = workspace.profile
    assert profile.ticket_class == "Incident"
    assert profile.attributes_mapping == {"public_log": "customer_log"}
    assert profile.form_attributes == ["title", "description", "impact"]
    assert profile.excluded_states == ["closed"]
    assert profile.subtitle_attribute == "service_id"
    assert profile.details_attributes == ["status", "agent_id"]
    assert profile.show_open_in_backoffice_button is False


def test_the_report_lists_the_outcome_of_each_field(run: Run) -> None:
    printed = run(PHP)
    assert f"iTop {URL} (new)" in printed
    assert "Workspace abcd1234 (new)" in printed
    assert "scope set: SELECT Organization WHERE name = 'Demo'" in printed
    assert "client secret set\n" in printed
    assert "Imported: 21 set." in printed


def test_unused_and_unknown_parameters_are_reported(run: Run) -> None:
    printed = run(PHP)
    assert "api_key (line 18) is ignored" in printed
    assert (
        "sync_app.ticket.clas (line 19) is unknown, and ignored. Did you mean sync_app.ticket.class?"
        in printed
    )
    assert "shoe_size (line 10) in sync_app.ticket.attributes_mapping is unknown" in printed


def test_where_the_chat_widget_is_shown_is_imported(run: Run) -> None:
    printed = run(PHP.replace("'allowed_profiles' => array()", "'allowed_profiles' => array('Portal user')"))
    messenger = Messenger.objects.get()
    assert messenger.workspace.workspace_id == "abcd1234"
    assert (messenger.pages, messenger.allowed_profiles) == (["itop-portal"], ["Portal user"])
    assert not messenger.enabled
    assert "Enter the Messenger API secret in the admin" in printed


def test_the_oldest_form_names_its_workspace_as_api_key(run: Run) -> None:
    run(
        "'combodo-intercom-integration' => array('api_key' => 'old12345', 'enabled_portals' => array('backoffice')),"
    )
    assert Messenger.objects.get().pages == ["backoffice"]
    assert Workspace.objects.get().workspace_id == "old12345"


@pytest.mark.parametrize("text", [PHP, XML], ids=["php", "xml"])
def test_a_second_import_changes_nothing(run: Run, text: str) -> None:
    run(text)
    before = rows()
    printed = run(text)
    # The XML says nothing about the chat widget.
    unchanged = 16 if text == PHP else 13
    assert f"Nothing changed: {unchanged} unchanged." in printed
    assert rows() == before
    # The iTop is known by now, and need not be named.
    assert "Nothing changed" in run(text, bare=True)
    assert rows() == before


def test_xml_and_php_of_the_same_configuration_are_equivalent(run: Run) -> None:
    run(PHP)
    assert "Nothing changed" in run(XML)


def test_a_dry_run_reports_the_changes_and_writes_nothing(run: Run) -> None:
    dry = run(PHP, "--dry-run")
    assert "Dry run, nothing was written: 21 set." in dry
    assert not Workspace.objects.exists()
    assert not ItopInstance.objects.exists()
    assert not TicketProfile.objects.exists()
    assert dry.split("Dry run")[0] == run(PHP).split("Imported")[0]


def test_a_dry_run_changes_no_existing_row(run: Run) -> None:
    run(PHP)
    before = rows()
    assert "ticket class changed: UserRequest (was Incident)" in run(
        PHP.replace("'Incident'", "'UserRequest'"), "--dry-run"
    )
    assert rows() == before


def test_changes_in_the_file_are_imported(run: Run) -> None:
    run(PHP)
    printed = run(PHP.replace("'Incident'", "'UserRequest'").replace(SECRET, "another-secret"))
    assert "client secret changed\n" in printed
    assert "Imported: 2 changed, 14 unchanged." in printed
    assert TicketProfile.objects.get().ticket_class == "UserRequest"
    assert Workspace.objects.get().client_secret.reveal() == "another-secret"


def test_values_set_in_the_admin_are_kept(run: Run) -> None:
    run(PHP)
    Workspace.objects.update(scope="SELECT Person")
    workspace = Workspace.objects.get()
    workspace.client_secret = "set-by-hand-0123"
    workspace.save()
    printed = run(PHP.replace("Demo", "Other").replace(SECRET, "another-secret"))
    assert (
        "scope kept: set in the admin. The file says (line 4): SELECT Organization WHERE name = 'Other'"
        in printed
    )
    assert "client secret kept: set in the admin\n" in printed
    workspace.refresh_from_db()
    assert workspace.scope == "SELECT Person"
    assert workspace.client_secret.reveal() == "set-by-hand-0123"
    assert "set-by-hand" not in printed


def test_overwrite_replaces_values_set_in_the_admin(run: Run) -> None:
    run(PHP)
    Workspace.objects.update(scope="SELECT Person", client_secret="set-by-hand-0123")
    printed = run(PHP, "--overwrite")
    assert "Imported: 2 changed" in printed
    assert Workspace.objects.get().scope.startswith("SELECT Organization")
    assert Workspace.objects.get().client_secret.reveal() == SECRET
    assert "Nothing changed" in run(PHP)


def test_defaults_of_a_row_added_in_the_admin_are_replaced(run: Run) -> None:
    profile = TicketProfile.objects.create(name="By hand", excluded_states=["resolved"])
    itop = ItopInstance.objects.create(name="Ours", url=URL, token="by-hand")
    Workspace.objects.create(workspace_id="abcd1234", itop=itop, profile=profile, access_token="by-hand")
    printed = run(PHP)
    workspace = Workspace.objects.get()
    assert workspace.client_secret.reveal() == SECRET
    assert workspace.scope.startswith("SELECT Organization WHERE")
    assert workspace.access_token.reveal() == "by-hand"
    assert workspace.itop.token.reveal() == "by-hand"
    profile.refresh_from_db()
    assert profile.ticket_class == "Incident"
    assert profile.excluded_states == ["resolved"]
    assert printed.count("kept: set in the admin") == 3


def test_another_itop_or_profile_chosen_in_the_admin_is_kept(run: Run) -> None:
    run(PHP)
    other = ItopInstance.objects.create(name="Other", url="https://other.example.com", token="x")
    Workspace.objects.update(itop=other)
    assert "iTop kept: set in the admin. The file says (line 3): itop.example.com" in run(PHP)
    assert Workspace.objects.get().itop == other


def test_a_profile_shared_with_another_itop_is_not_changed(run: Run) -> None:
    shared = TicketProfile.objects.create(name="Shared")
    itop = ItopInstance.objects.create(name="Ours", url=URL, token="x")
    other = ItopInstance.objects.create(name="Other", url="https://other.example.com", token="x")
    Workspace.objects.create(workspace_id="abcd1234", itop=itop, profile=shared)
    Workspace.objects.create(workspace_id="efgh5678", itop=other, profile=shared)
    run(PHP)
    shared.refresh_from_db()
    assert shared.ticket_class == "UserRequest"
    assert TicketProfile.objects.get(name="Ours").ticket_class == "Incident"


def test_the_imported_column_contains_no_secret(run: Run) -> None:
    run(PHP)
    stored = json.dumps(list(Workspace.objects.values_list("imported", flat=True)))
    stored += json.dumps(list(ItopInstance.objects.values_list("imported", flat=True)))
    for secret in (SECRET, TOKEN, ITOP_TOKEN):
        assert secret not in stored
    assert len(Workspace.objects.get().imported["client_secret"]) == 64


def test_imported_secrets_are_recognised_after_a_change_of_secret_key(run: Run, settings: Settings) -> None:
    run(PHP)
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "a new one"
    assert "client secret changed" in run(PHP.replace(SECRET, "another-secret"))


def test_a_secret_that_cannot_be_decrypted_is_kept_without_overwrite(run: Run, settings: Settings) -> None:
    run(PHP)
    settings.FIELD_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    assert "client secret kept: cannot be read with FIELD_ENCRYPTION_KEYS" in run(PHP)
    run(PHP, "--overwrite")
    assert Workspace.objects.get().client_secret.reveal() == SECRET


def test_a_parameter_removed_from_the_file_keeps_its_value(run: Run) -> None:
    run(PHP)
    printed = run(PHP.replace("'sync_app.ticket.class' => 'Incident',", ""))
    assert "ticket class unchanged: no longer in the file" in printed
    assert TicketProfile.objects.get().ticket_class == "Incident"


def test_a_workspace_removed_from_the_file_is_reported_and_kept(run: Run) -> None:
    run(PHP)
    printed = run(PHP.replace("abcd1234", "efgh5678"))
    assert "Workspace abcd1234 was imported before and is not in this file." in printed
    assert Workspace.objects.count() == 2
    assert TicketProfile.objects.count() == 1


def test_secrets_outside_of_the_workspaces_apply_to_those_without_their_own(run: Run) -> None:
    run(
        fragment(
            "'sync_app.client_secret' => 'shared-secret', 'sync_app.access_token' => 'shared-token',\n"
            "'workspaces' => ['one' => 'SELECT Organization', 'two' => ['scope' => 'SELECT Person', "
            "'sync_app.client_secret' => 'own-secret']]"
        )
    )
    one, two = Workspace.objects.get(workspace_id="one"), Workspace.objects.get(workspace_id="two")
    assert (one.client_secret.reveal(), one.access_token.reveal()) == ("shared-secret", "shared-token")
    assert (two.client_secret.reveal(), two.access_token.reveal()) == ("own-secret", "shared-token")
    assert one.scope == "SELECT Organization"


def test_without_the_workspaces_element_an_array_with_a_scope_is_a_workspace(run: Run) -> None:
    run(fragment("'abcd1234' => ['scope' => 'SELECT Person'], 'sync_app.ticket.class' => 'UserRequest'"))
    assert Workspace.objects.get().workspace_id == "abcd1234"


def test_a_workspace_id_of_digits_only_is_a_text(run: Run) -> None:
    run(fragment("'workspaces' => ['12345678' => ['scope' => 'SELECT Person']]"))
    assert Workspace.objects.get().workspace_id == "12345678"


def test_the_former_name_of_the_excluded_states_is_supported(run: Run) -> None:
    text = fragment(
        "'workspaces' => ['a' => 'SELECT Person'], 'sync_app.search_ticket.done_states' => ['resolved', 'closed']"
    )
    run(text)
    assert TicketProfile.objects.get().excluded_states == ["resolved", "closed"]


def test_missing_secrets_of_a_workspace_are_reported(run: Run) -> None:
    printed = run(fragment("'workspaces' => ['abcd1234' => 'SELECT Person']"))
    assert "Workspace abcd1234 has no sync_app.client_secret in the file. Enter it in the admin." in printed


@pytest.mark.parametrize(
    "name", ["client_secret", "sync_app.client-secret", "access_token", "sync_app.acces_token"]
)
@pytest.mark.parametrize("beside", [True, False], ids=["beside the workspaces", "in the workspace"])
def test_a_misspelt_secret_gets_one_note_with_the_right_name(run: Run, name: str, beside: bool) -> None:
    right = "sync_app.client_secret" if "client" in name else "sync_app.access_token"
    given = f"'{name}' => 'do-not-print-me'"
    workspace = "'scope' => 'SELECT Person'" + ("" if beside else f",\n{given}")
    printed = run(
        fragment(f"'workspaces' => ['abcd1234' => [{workspace}]]" + (f",\n{given}" if beside else ""))
    )
    where = "" if beside else " in workspace abcd1234"
    assert f"{name} (line 3){where} is unknown, and ignored. Did you mean {right}?" in printed
    assert printed.count(right) == 1
    assert "do-not-print-me" not in printed


ASKING = "'workspaces' => ['a' => 'SELECT Person'],\n'sync_app.create_ticket.form_attributes' => [{codes}]"


def test_automatic_attributes_are_removed_from_the_form_and_reported(run: Run) -> None:
    codes = "'title', 'status', 'ref', 'public_log', 'description', 'intercom_ref', 'org_id'"
    text = fragment(ASKING.format(codes=codes))
    printed = run(text)
    for code in ("status", "ref", "public_log", "intercom_ref", "org_id"):
        assert (
            f"Note: {code} in sync_app.create_ticket.form_attributes (line 3) is filled in automatically, and ignored."
            in printed
        )
    assert TicketProfile.objects.get().form_attributes == ["title", "description"]
    assert "Nothing changed" in run(text)


def test_automatic_attributes_follow_the_mapping(run: Run) -> None:
    codes = "'title', 'public_log', 'customer_log'"
    mapping = ",\n'sync_app.ticket.attributes_mapping' => ['public_log' => 'customer_log']"
    printed = run(fragment(ASKING.format(codes=codes) + mapping))
    assert "Note: customer_log in" in printed and "Note: public_log in" not in printed
    assert TicketProfile.objects.get().form_attributes == ["title", "public_log"]


def test_a_note_asks_to_check_the_region(run: Run) -> None:
    assert "change it in the admin if Intercom hosts the workspace in the EU" in run(PHP)


WHOLE = f"""<?php
$MySettings = array(
	'app_root_url' => 'https://ITOP.example.com/itop/',
	'timezone' => 'Europe/Paris',
	'log_level' => SOME_CONSTANT,
);
$MyModuleSettings = array(
	{PHP}
);
"""


def test_a_whole_configuration_file_names_the_itop_and_its_time_zone(run: Run) -> None:
    run(WHOLE, "--itop-token-env", "ITOP_TOKEN", bare=True)
    itop = ItopInstance.objects.get()
    assert (itop.url, itop.time_zone) == ("https://ITOP.example.com/itop", "Europe/Paris")
    run(WHOLE, bare=True)
    assert ItopInstance.objects.count() == 1


def test_a_known_itop_is_found_by_any_spelling_of_its_url(run: Run) -> None:
    ItopInstance.objects.create(name="Ours", url=URL, token="x")
    run(PHP, "--itop-url", "https://itop.EXAMPLE.com/itop/webservices/rest.php", bare=True)
    assert Workspace.objects.get().itop.name == "Ours"


def test_the_name_of_the_itop_can_be_given(run: Run) -> None:
    run(PHP, "--itop-name", "Service desk")
    assert ItopInstance.objects.get().name == "Service desk"


@pytest.mark.parametrize("options", [(), ("--itop-url", URL), ("--overwrite",)])
def test_a_name_that_no_itop_has_renames_none(run: Run, options: tuple[str, ...]) -> None:
    run(PHP, "--itop-name", "Service desk")
    Workspace.objects.all().delete()
    with pytest.raises(CommandError, match=f"The iTop at {URL} is named “Service desk”, not “Service dsk”"):
        run(PHP, "--itop-name", "Service dsk", *options, bare=True)
    assert ItopInstance.objects.get().name == "Service desk"
    assert not Workspace.objects.exists()


def test_the_only_itop_need_not_be_named(run: Run) -> None:
    ItopInstance.objects.create(name="Ours", url=URL, token="x")
    run(PHP, bare=True)
    assert Workspace.objects.get().itop.name == "Ours"


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (PHP, (), "Add --itop-url"),
        (PHP, ("--itop-url", URL), "name that variable with --itop-token-env"),
        (PHP, ("--itop-url", "itop.example.com", "--itop-token-env", "ITOP_TOKEN"), "is not a URL"),
        (PHP, ("--itop-url", "https://u:p@itop.example.com"), "must not contain an account"),
        (PHP, ("--itop-url", URL, "--itop-token-env", "NOT_SET"), "environment variable NOT_SET is not set"),
        (WHOLE, (), "name that variable with --itop-token-env"),
    ],
    ids=[
        "no url",
        "no token",
        "invalid url",
        "account in url",
        "variable not set",
        "no token for url in file",
    ],
)
def test_an_unidentified_itop_is_refused(run: Run, text: str, options: tuple[str, ...], message: str) -> None:
    with pytest.raises(CommandError) as error:
        run(text, *options, bare=True)
    assert message in str(error.value)
    assert not ItopInstance.objects.exists()


def test_with_several_itops_the_url_is_required(run: Run) -> None:
    for name in ("one", "two"):
        ItopInstance.objects.create(name=name, url=f"https://{name}.example.com", token="x")
    with pytest.raises(CommandError, match="several iTops. Choose one with --itop-url"):
        run(PHP, bare=True)


def test_a_file_of_an_unknown_itop_is_refused(run: Run) -> None:
    ItopInstance.objects.create(name="Ours", url="https://ours.example.com", token="x")
    with pytest.raises(
        CommandError, match="Line 3: the file belongs to the iTop at https://ITOP.example.com"
    ):
        run(WHOLE, bare=True)


@pytest.mark.parametrize("token", ["PUT_YOUR_TOKEN_HERE", "auth_token=abc", "two words", "a\u200bb"])
def test_a_variable_without_a_token_is_refused(run: Run, monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    monkeypatch.setenv("ITOP_TOKEN", token)
    with pytest.raises(CommandError, match="environment variable ITOP_TOKEN"):
        run(PHP)


def test_placeholders_are_listed_and_nothing_is_imported(run: Run) -> None:
    php = fragment(
        "'workspaces' => array(\n'good1234' => array('scope' => 'SELECT Organization'),\n"
        "'PUT_YOUR_WORKSPACE_ID_HERE' => array(\n'scope' => 'SELECT Organization',\n"
        "'sync_app.client_secret' => 'PUT_YOUR_APP_CLIENT_SECRET_HERE',\n"
        "'sync_app.access_token' => 'PUT_YOUR_APP_ACCESS_TOKEN_HERE'))"
    )
    with pytest.raises(CommandError) as error:
        run(php)
    text = str(error.value)
    assert text.count("Nothing") == 1
    assert "PUT_YOUR_WORKSPACE_ID_HERE (line 4)" in text
    assert "PUT_YOUR_APP_CLIENT_SECRET_HERE (line 6)" in text
    assert "PUT_YOUR_APP_ACCESS_TOKEN_HERE (line 7)" in text
    assert not Workspace.objects.exists()


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ("'workspaces' => array()", "no workspace in the file"),
        ("'workspaces' => 'x'", "Line 2: workspaces is not an array"),
        ("'sync_app.ticket.class' => 'x'", "no workspace in the file"),
        ("'workspaces' => ['a' => []]", "Line 2: workspace a has no scope"),
        (
            "'workspaces' => ['a' => 'DELETE Organization']",
            "Line 2: Workspace a, scope: This is not an OQL query",
        ),
        (
            "'workspaces' => ['a' => 'SELECT Person WHERE id = :this->id']",
            "The bridge can fill in only :current_contact_id",
        ),
        (
            "'workspaces' => ['a b' => 'SELECT Person']",
            "Line 2: Workspace a b, workspace ID: Letters, digits",
        ),
        ("'workspaces' => ['a' => ['scope' => ['x']]]", "Line 2: the scope of workspace a must be text"),
        ("'workspaces' => ['a' => ['scope' => '%env(SCOPE)%']]", "refers to iTop's environment"),
        (
            "'workspaces' => ['a' => 'SELECT Person'],\n'sync_app.client_secret' => 'x y'",
            "Line 3: .* white space",
        ),
        (
            "'workspaces' => ['a' => 'SELECT Person'],\n'sync_app.create_ticket.form_attributes' => 'title'",
            "Line 3: .* must be a list",
        ),
        (
            "'workspaces' => ['a' => 'SELECT Person'],\n'sync_app.create_ticket.form_attributes' => ['a b']",
            "Line 3: Ticket profile .*, form attributes: Write a list of codes",
        ),
        (
            "'workspaces' => ['a' => 'SELECT Person'],\n"
            "'sync_app.view_ticket.show_open_in_backoffice_button' => 'perhaps'",
            "neither true nor false",
        ),
    ],
    ids=lambda value: value[-60:],
)
def test_an_error_names_its_line_and_nothing_is_imported(run: Run, members: str, message: str) -> None:
    with pytest.raises(CommandError, match=message):
        run(fragment(members))
    assert not ItopInstance.objects.exists()
    assert not TicketProfile.objects.exists()


def test_a_mistake_in_the_last_workspace_undoes_the_first(run: Run) -> None:
    with pytest.raises(CommandError, match="Nothing was imported. Line 4"):
        run(fragment("'workspaces' => [\n'good1234' => 'SELECT Person',\n'bad12345' => 'nonsense']"))
    assert not Workspace.objects.exists()


def test_without_encryption_keys_the_message_names_the_setting(run: Run, settings: Settings) -> None:
    settings.FIELD_ENCRYPTION_KEYS = []
    with pytest.raises(CommandError, match="FIELD_ENCRYPTION_KEYS is not set"):
        run(PHP)


def test_an_error_message_never_contains_a_secret(run: Run) -> None:
    with pytest.raises(CommandError) as error:
        run(PHP.replace("SELECT Organization", "SELECT"))
    assert SECRET not in str(error.value)
