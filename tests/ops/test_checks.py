"""System checks: their ids, and when they report."""

from __future__ import annotations

import re
import sys
from io import StringIO
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from django.conf import settings
from django.core.checks import CheckMessage, Tags, registry, run_checks
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.db import OperationalError, connection
from django.test import override_settings
from pytest_django import Settings

from intercom_bridge.admin.workspaces import WorkspaceAdmin
from intercom_bridge.datamodel.builtin import BUILTIN_CLASSES
from intercom_bridge.datamodel.serialization import to_json
from intercom_bridge.models import ImportedClass, ItopInstance, TicketProfile, Workspace
from intercom_bridge.ops import checks
from settings.env import BASE_DIR

KEY = "dGVzdGluZy1vbmx5LW5vdC1hLXNlY3JldC1rZXktMDI="
PRODUCTION = {
    "DEBUG": False,
    "SETTINGS_MODULE": "settings.production",
    "SECRET_KEY": "a-key-of-our-own-0123456789-abcdefghijklmnopqrstuvwxyz",
    "FIELD_ENCRYPTION_KEYS": [KEY],
    "PUBLIC_URL": "https://bridge.example.com",
    "ALLOWED_HOSTS": ["bridge.example.com"],
    "INTERCOM_API_URL": "",
    "REDIS_URL": "",
}


def ids(messages: list[CheckMessage]) -> set[str]:
    assert all(message.hint for message in messages)
    return {str(message.id).removeprefix("intercom_bridge.") for message in messages}


def found(**changed: object) -> set[str]:
    """Return the ids reported for production with these settings changed."""
    with override_settings(**(PRODUCTION | changed)):
        return ids(run_checks(tags=[checks.TAG]))


# Settings


def test_a_correct_production_has_no_messages() -> None:
    assert found() == set()


def test_every_id_is_listed_in_the_handbook() -> None:
    table = re.findall(
        r"^\| ([EWI]\d{3}.*?) \|", (BASE_DIR / "docs" / "operate.md").read_text(), re.MULTILINE
    )
    documented = set(re.findall(r"\b[EWI]\d{3}\b", " ".join(table)))
    used = set(re.findall(r'"([EWI]\d{3})"', Path(checks.__file__).read_text()))
    assert used == documented


def test_missing_encryption_keys_are_an_error_or_in_development_a_warning() -> None:
    assert found(FIELD_ENCRYPTION_KEYS=[]) == {"E001"}
    assert found(FIELD_ENCRYPTION_KEYS=[], DEBUG=True, SETTINGS_MODULE="settings.development") == {
        "W001",
        "W002",
    }


@pytest.mark.parametrize("key", ["abc", "", "é" * 44, KEY[:-4]])
@pytest.mark.parametrize("debug", [True, False])
def test_an_invalid_encryption_key_is_an_error(key: str, debug: bool) -> None:
    assert "E002" in found(FIELD_ENCRYPTION_KEYS=[KEY, key], DEBUG=debug)


def test_an_invalid_key_is_named_by_its_position_and_not_printed() -> None:
    with override_settings(**(PRODUCTION | {"FIELD_ENCRYPTION_KEYS": [KEY, "not-a-key"]})):
        [message] = checks.check_encryption_keys()
    assert "2 of 2" in message.msg
    assert "not-a-key" not in message.msg + (message.hint or "")


def test_public_keys_are_an_error_without_debug() -> None:
    from settings import development

    assert found(FIELD_ENCRYPTION_KEYS=development.FIELD_ENCRYPTION_KEYS) == {"E003"}
    assert found(SECRET_KEY="development-only-not-a-secret") == {"E003"}
    assert "E003" not in found(SECRET_KEY="development-only-not-a-secret", DEBUG=True)


@pytest.mark.parametrize(
    "url", ["", "bridge.example.com", "ftp://bridge.example.com", "https://", "https://[x"]
)
def test_an_invalid_public_url_is_an_error(url: str) -> None:
    assert found(PUBLIC_URL=url) == {"E004"}


def test_a_public_url_without_https_is_an_error_in_production() -> None:
    assert found(PUBLIC_URL="http://bridge.example.com") == {"E005"}
    assert "E005" not in found(PUBLIC_URL="http://bridge.example.com", DEBUG=True)


@pytest.mark.parametrize("url", ["https://localhost", "http://127.0.0.1:8000", "https://[::1]:8000"])
def test_a_public_url_that_is_this_machine_is_an_error_in_production(url: str) -> None:
    hosts = ["localhost", "127.0.0.1", "[::1]"]
    assert found(PUBLIC_URL=url, ALLOWED_HOSTS=hosts) == {"E006"}
    assert (
        found(PUBLIC_URL=url, ALLOWED_HOSTS=hosts, DEBUG=True, SETTINGS_MODULE="settings.development")
        == set()
    )


def found_before_deployment(**changed: object) -> set[str]:
    with override_settings(**(PRODUCTION | {"PUBLIC_URL": "https://bridge.acme.test"} | changed)):
        return {
            str(message.msg)
            for message in run_checks(tags=[checks.TAG], include_deployment_checks=True)
            if message.id == "intercom_bridge.E010"
        }


def of_placeholder(name: str) -> set[str]:
    return {f"{name} is still a placeholder from the documentation."}


def test_placeholders_of_the_example_are_found_before_deployment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert found_before_deployment() == set()
    for host in ("bridge.example.com", "example.org", "bridge.example", "BRIDGE.EXAMPLE.COM"):
        assert found_before_deployment(PUBLIC_URL=f"https://{host}") == of_placeholder("PUBLIC_URL")
    assert found_before_deployment(PUBLIC_URL="https://bridge.myexample.com") == set()
    assert found_before_deployment(METRICS_TOKEN="something-long") == of_placeholder("METRICS_TOKEN")
    monkeypatch.setitem(settings.DATABASES["default"], "PASSWORD", "password")
    assert found_before_deployment() == of_placeholder("DATABASE_URL")


def test_the_placeholders_are_those_of_the_example() -> None:
    example = (BASE_DIR / "deploy" / "bridge.env.example").read_text(encoding="utf-8")
    assert f"DATABASE_URL=postgres://bridge:{checks.EXAMPLE_PASSWORD}@" in example
    assert f"#METRICS_TOKEN={checks.EXAMPLE_METRICS_TOKEN}\n" in example
    assert "PUBLIC_URL=https://bridge.example.com\n" in example


def test_debug_in_production_is_an_error() -> None:
    assert found(DEBUG=True) == {"E007"}


def test_debug_with_a_public_address_is_a_warning() -> None:
    assert found(DEBUG=True, SETTINGS_MODULE="settings.development") == {"W002"}


def test_another_intercom_api_is_a_warning_in_production() -> None:
    assert found(INTERCOM_API_URL="http://127.0.0.1:8002") == {"W003"}
    assert "W003" not in found(INTERCOM_API_URL="http://127.0.0.1:8002", DEBUG=True)


@pytest.mark.parametrize(
    "url", ["redis.example.com:6379", "http://redis.example.com", "redis://", "redis://h:x", "1"]
)
def test_an_invalid_redis_url_is_an_error(url: str) -> None:
    assert "E008" in found(REDIS_URL=url)


@pytest.mark.parametrize(
    "url", ["redis://:pw@redis.example.com:6379/0", "rediss://r.example.com", "unix:///run/r.sock"]
)
def test_a_redis_url_with_postgresql_is_fine(url: str) -> None:
    with override_settings(**(PRODUCTION | {"REDIS_URL": url})):
        assert checks.check_redis_url() == []


def test_redis_with_sqlite_is_a_warning(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.REDIS_URL = "redis://redis.example.com"
    monkeypatch.setitem(settings.DATABASES["default"], "ENGINE", "django.db.backends.sqlite3")
    assert ids(checks.check_queue_and_database()) == {"W004"}
    monkeypatch.setitem(settings.DATABASES["default"], "ENGINE", "django.db.backends.postgresql")
    assert checks.check_queue_and_database() == []


def test_a_metrics_directory_that_is_not_writable_is_a_warning(settings: Settings) -> None:
    settings.METRICS_TOKEN, settings.METRICS_DIR = "a-token", None
    assert ids(checks.check_metrics()) == {"W006"}
    settings.METRICS_TOKEN = ""
    assert checks.check_metrics() == []


def test_allowed_hosts_must_contain_the_public_host() -> None:
    assert found(ALLOWED_HOSTS=["other.example.com"]) == {"E009"}
    assert found(ALLOWED_HOSTS=[".example.com"]) == set()
    assert found(ALLOWED_HOSTS=["*"]) == set()


def test_development_and_test_settings_have_no_messages() -> None:
    assert checks.check_public_url() == checks.check_debug() == checks.check_encryption_keys() == []
    out = StringIO()
    call_command("check", stdout=out)
    assert "no issues" in out.getvalue()


# Rows


@pytest.fixture
def good(db: None, settings: Settings) -> Workspace:
    """Return a correct workspace in production."""
    for name, value in PRODUCTION.items():
        setattr(settings, name, value)
    return Workspace.objects.create(
        workspace_id="abcd1234",
        client_secret="a-client-secret",
        access_token="an-access-token",
        itop=ItopInstance.objects.create(name="Ours", url="https://itop.example.com/itop", token="a-token"),
        profile=TicketProfile.objects.create(name="Requests"),
    )


def row_ids() -> set[str]:
    return ids(checks.check_rows(databases=["default"]))


def test_correct_rows_have_no_messages(good: Workspace) -> None:
    assert row_ids() == set()


def test_no_workspace_is_a_warning(db: None) -> None:
    assert row_ids() == {"W101"}


@pytest.mark.parametrize(("field", "expected"), [("client_secret", "E102"), ("access_token", "E103")])
def test_an_enabled_workspace_needs_its_secrets(good: Workspace, field: str, expected: str) -> None:
    Workspace.objects.update(**{field: ""})
    assert row_ids() == {expected}
    Workspace.objects.update(enabled=False)
    assert row_ids() == set()


def test_secrets_with_a_lost_key_are_named(good: Workspace, settings: Settings) -> None:
    settings.FIELD_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    messages = checks.check_rows(databases=["default"])
    assert [message.id for message in messages] == ["intercom_bridge.E104"] * 3
    assert "client secret" in messages[0].msg


def test_secrets_with_an_older_key_are_reported(good: Workspace, settings: Settings) -> None:
    settings.FIELD_ENCRYPTION_KEYS = [Fernet.generate_key().decode(), *settings.FIELD_ENCRYPTION_KEYS]
    assert row_ids() == {"I119"}
    call_command("rotate_keys")
    assert row_ids() == set()


def test_without_a_key_each_secret_is_named(good: Workspace, settings: Settings) -> None:
    settings.FIELD_ENCRYPTION_KEYS = []
    assert row_ids() == {"E104"}


@pytest.mark.parametrize("field", ["client_secret", "access_token", "previous_client_secret"])
def test_a_placeholder_is_not_a_secret(good: Workspace, field: str) -> None:
    Workspace.objects.update(**{field: "PUT_YOUR_APP_CLIENT_SECRET_HERE"})
    assert row_ids() == {"E105"}


def test_a_placeholder_is_not_an_itop_token(good: Workspace) -> None:
    ItopInstance.objects.update(token="PUT_YOUR_TOKEN_HERE")
    assert row_ids() == {"E105"}


@pytest.mark.parametrize("scope", ["", "DELETE Organization", "SELECT Organization WHERE id = :this->org_id"])
def test_an_invalid_scope_is_an_error(good: Workspace, scope: str) -> None:
    Workspace.objects.update(scope=scope)
    assert row_ids() == {"E106"}


def test_an_itop_without_https_is_an_error_in_production(good: Workspace, settings: Settings) -> None:
    ItopInstance.objects.update(url="http://itop.example.com")
    assert row_ids() == {"E107"}
    settings.DEBUG = True
    assert row_ids() == set()


@pytest.mark.parametrize(
    "tail", ["/webservices/rest.php", "/webservices", "/pages/UI.php", "/?x=1", "/webservices/rest.php/"]
)
def test_an_itop_address_must_be_its_base_url(good: Workspace, tail: str) -> None:
    ItopInstance.objects.update(url=f"https://itop.example.com/itop{tail}")
    assert row_ids() == {"E108"}


def test_an_itop_needs_an_account(good: Workspace) -> None:
    ItopInstance.objects.update(token="")
    assert row_ids() == {"E109"}
    ItopInstance.objects.update(user="bridge", password="secret-of-it")
    assert row_ids() == set()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("details_attributes", ["not a code"]),
        ("excluded_states", "closed"),
        ("form_attributes", ["title", "title"]),
        ("attributes_mapping", {"shoe_size": "x"}),
        ("attributes_mapping", ["x"]),
    ],
)
def test_an_invalid_list_of_a_profile_is_an_error(good: Workspace, field: str, value: object) -> None:
    TicketProfile.objects.update(**{field: value})
    assert row_ids() == {"E110"}


def test_a_form_needs_fields(good: Workspace) -> None:
    TicketProfile.objects.update(form_attributes=[])
    assert row_ids() == {"E111"}


def test_a_form_needs_a_title_under_its_mapped_name(good: Workspace) -> None:
    TicketProfile.objects.update(form_attributes=["description"])
    assert row_ids() == {"E112"}
    TicketProfile.objects.update(form_attributes=["subject"], attributes_mapping={"title": "subject"})
    assert row_ids() == set()


AUTOMATIC = [
    *("status", "ref", "public_log", "private_log", "origin", "org_id", "caller_id"),
    *("intercom_ref", "intercom_url", "intercom_sync_activated"),
]


@pytest.mark.parametrize("code", AUTOMATIC)
def test_an_automatic_attribute_cannot_be_a_form_field(good: Workspace, code: str) -> None:
    TicketProfile.objects.update(form_attributes=["title", code])
    assert row_ids() == {"E117"}
    with pytest.raises(ValidationError) as refused:
        TicketProfile.objects.get().full_clean()
    assert refused.value.message_dict == {
        "form_attributes": [f"Filled in automatically, so not in the form: {code}."]
    }


def test_automatic_attributes_follow_the_mapping(good: Workspace) -> None:
    mapping = {"public_log": "customer_log", "status": "state"}
    TicketProfile.objects.update(
        form_attributes=["title", "public_log", "status"], attributes_mapping=mapping
    )
    assert row_ids() == set()
    TicketProfile.objects.get().full_clean()
    TicketProfile.objects.update(form_attributes=["title", "customer_log", "state"])
    assert row_ids() == {"E117"}


@pytest.mark.parametrize(
    "broken", [{"form_attributes": [["title"]]}, {"form_attributes": 5}, {"attributes_mapping": ["x"]}]
)
def test_an_invalid_profile_can_be_validated(broken: dict[str, object]) -> None:
    with pytest.raises(ValidationError) as refused:
        TicketProfile(name="x", **broken).full_clean(validate_unique=False)
    assert set(refused.value.message_dict) == set(broken)


@pytest.mark.parametrize("field", ["excluded_states", "details_attributes"])
def test_an_empty_list_is_a_warning(good: Workspace, field: str) -> None:
    TicketProfile.objects.update(**{field: []})
    assert row_ids() == {"W113"}


def test_a_profile_must_fit_the_imported_data_model(good: Workspace) -> None:
    built_in = BUILTIN_CLASSES["UserRequest"]
    ImportedClass.objects.create(
        itop=good.itop, name=built_in.name, definition=to_json(built_in), file_name="a.xml"
    )
    assert row_ids() == set()
    TicketProfile.objects.update(form_attributes=["title"], details_attributes=["statuss"])
    [message] = checks.check_rows(databases=["default"])
    assert message.id == "intercom_bridge.W118"
    assert "statuss. Did you mean status?" in message.msg
    assert "does not contain description" in message.msg
    TicketProfile.objects.update(form_attributes="title")
    assert row_ids() == {"E110"}


def test_the_class_of_a_scope_must_exist_in_the_imported_data_model(good: Workspace) -> None:
    Workspace.objects.update(
        scope="SELECT Organisation WHERE id = :current_contact->org_id UNION SELECT Boat"
    )
    assert row_ids() == set()
    ItopInstance.objects.update(class_names=["Boat", "Organization"])
    [message] = checks.check_rows(databases=["default"])
    assert message.id == "intercom_bridge.W125"
    assert "iTop knows no class Organisation. Did you mean Organization?" in message.msg
    # Classes of accounts are not in the file of the data model.
    Workspace.objects.update(scope="SELECT UserLocal")
    assert row_ids() == set()


def test_each_profile_is_checked_once(good: Workspace) -> None:
    TicketProfile.objects.create(name="Another", form_attributes=[])
    assert [message.id for message in checks.check_rows(databases=["default"])] == ["intercom_bridge.E111"]


@pytest.mark.parametrize("model", [Workspace, ItopInstance])
def test_an_invalid_time_zone_is_an_error(good: Workspace, model: type[Workspace]) -> None:
    model.objects.update(time_zone="Europe/Atlantis")
    assert row_ids() == {"E114"}


def test_a_shared_client_secret_is_a_warning(good: Workspace) -> None:
    Workspace.objects.create(
        workspace_id="efgh5678",
        client_secret="a-client-secret",
        access_token="x",
        itop=good.itop,
        profile=good.profile,
    )
    [message] = checks.check_rows(databases=["default"])
    assert message.id == "intercom_bridge.W115"
    assert "abcd1234, efgh5678" in message.msg


def test_no_message_contains_a_secret(good: Workspace) -> None:
    Workspace.objects.update(scope="nonsense", client_secret="PUT_YOUR_REAL_5ecret")
    assert "5ecret" not in str(checks.check_rows(databases=["default"]))


# When rows are not checked


def test_rows_are_checked_only_with_the_database_option() -> None:
    assert checks.check_rows(databases=None) == []
    assert checks.check_rows() == []
    assert checks.check_rows(databases=["other"]) == []


def test_migrate_does_not_check_rows(good: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    Workspace.objects.update(client_secret="")
    monkeypatch.setattr(sys, "argv", ["manage.py", "migrate"])
    assert checks.check_rows(databases=["default"]) == []


def test_an_unmigrated_database_is_reported(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "migrations_missing", lambda: True)
    assert row_ids() == {"I101"}


def test_a_database_without_tables_is_reported(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with connection.execute_wrapper(_no_such_table):
        assert row_ids() == {"I101"}


def _no_such_table(*_: object) -> None:
    raise OperationalError("no such table: intercom_bridge_workspace")


def test_the_check_command_fails_on_invalid_rows(good: Workspace) -> None:
    Workspace.objects.update(client_secret="")
    with pytest.raises(SystemCheckError, match="E102"):
        call_command("check", databases=["default"])


def test_the_check_command_checks_the_admin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WorkspaceAdmin, "list_display", ["unknown"])
    assert "admin.E108" in {message.id for message in run_checks(tags=[Tags.admin])}


@pytest.mark.parametrize("url", ["https://localhost", "http://bridge.example.com"])
def test_a_worker_does_not_start_with_an_error_in_the_settings(url: str) -> None:
    with override_settings(**PRODUCTION | {"PUBLIC_URL": url}), pytest.raises(SystemCheckError):
        call_command("worker", "--check", skip_checks=False)


def test_all_checks_are_registered() -> None:
    ours = {
        check
        for check in registry.registry.get_checks(include_deployment_checks=True)
        if check.__module__ == checks.__name__
    }
    assert {getattr(check, "__name__", "") for check in ours} == {
        name for name in dir(checks) if name.startswith("check_")
    }
    assert [getattr(check, "__name__", "") for check in ours if Tags.database in check.tags] == ["check_rows"]


def test_the_directory_for_files_must_be_writable_and_have_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not {"E011", "W007"} & found(FILES_DIR=tmp_path)
    assert "E011" in found(FILES_DIR=tmp_path / "missing")
    monkeypatch.setattr(checks, "MIN_FREE_BYTES", 10**18)
    assert "W007" in found(FILES_DIR=tmp_path)
