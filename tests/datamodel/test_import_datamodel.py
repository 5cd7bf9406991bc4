"""`manage.py import_datamodel`."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from intercom_bridge.datamodel.lookup import attribute_label, ticket_class_of
from intercom_bridge.models import ImportedClass, ItopInstance, TicketProfile, Workspace

from .design_file import TICKET, design

pytestmark = pytest.mark.django_db

ONLY_LIFTS = '<class id="LiftRepair"><parent>Ticket</parent></class>'


@pytest.fixture
def itop() -> ItopInstance:
    return ItopInstance.objects.create(name="Ours", url="https://itop.example.com", token="t0ken")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "datamodel-production.xml"
    path.write_bytes(design())
    return path


def run(path: Path, *options: str) -> str:
    out = io.StringIO()
    call_command("import_datamodel", str(path), "--itop", "Ours", *options, stdout=out, no_color=True)
    return out.getvalue()


def imported() -> list[str]:
    return list(ImportedClass.objects.values_list("name", flat=True))


def test_classes_are_imported_and_reported(itop: ItopInstance, file: Path) -> None:
    output = run(file)
    assert imported() == ["LiftRepair", "Repair"]
    assert "Repair      attributes: 25, mandatory: 9" in output
    assert "Labels in: de, en, en-gb, es, fr" in output
    assert "Imported: 2 classes for Ours." in output
    repair = ticket_class_of(itop, "Repair")
    assert attribute_label(repair, "hurry") == "Hurry"
    row = ImportedClass.objects.get(name="Repair")
    assert row.file_name == "datamodel-production.xml"


def test_the_names_of_all_classes_are_stored(itop: ItopInstance, file: Path) -> None:
    run(file)
    itop.refresh_from_db()
    assert {"Bench", "Repair", "Ticket"} <= set(itop.class_names)


def test_a_dry_run_stores_nothing(itop: ItopInstance, file: Path) -> None:
    output = run(file, "--dry-run")
    assert "attributes: 25" in output
    assert "Dry run: 2 classes for Ours, nothing was stored." in output
    assert imported() == []


def test_a_class_named_by_a_profile_or_an_option_is_imported(itop: ItopInstance, file: Path) -> None:
    TicketProfile.objects.create(name="Benches", ticket_class="Bench")
    run(file, "--class", "Ticket")
    assert imported() == ["Bench", "LiftRepair", "Repair", "Ticket"]


def test_a_class_named_once_is_imported_again(itop: ItopInstance, file: Path) -> None:
    run(file, "--class", "Bench")
    run(file)
    assert imported() == ["Bench", "LiftRepair", "Repair"]


def test_an_import_replaces_the_previous_one(itop: ItopInstance, file: Path) -> None:
    other = ItopInstance.objects.create(name="Other", url="https://other.example.com", token="t0ken")
    run(file)
    ImportedClass.objects.create(itop=other, name="Boat", definition={}, file_name="b.xml")
    file.write_bytes(design(TICKET, ONLY_LIFTS))
    output = run(file)
    assert "Removed: Repair" in output
    assert imported() == ["Boat", "LiftRepair"]
    assert "load" not in ticket_class_of(itop, "LiftRepair").attributes


def test_profiles_that_do_not_fit_are_reported(itop: ItopInstance, file: Path) -> None:
    TicketProfile.objects.create(name="Requests")
    repairs = TicketProfile.objects.create(name="Repairs", ticket_class="Repair")
    elsewhere = TicketProfile.objects.create(name="Elsewhere", ticket_class="Repair")
    other = ItopInstance.objects.create(name="Other", url="https://other.example.com", token="t0ken")
    Workspace.objects.create(workspace_id="a", name="A", itop=itop, profile=repairs)
    Workspace.objects.create(workspace_id="b", name="B", itop=other, profile=elsewhere)
    output = run(file)
    assert "Does not fit: Requests: this data model has no class UserRequest." in output
    assert "Does not fit: Repairs, form attributes: Repair has no attribute service_id." in output
    assert (
        "Does not fit: Repairs: The form does not contain wing_id, bench_id, required in a new Repair."
        in output
    )
    assert "Elsewhere" not in output


@pytest.mark.parametrize(
    ("data", "options", "text"),
    [
        (design()[:3000], (), "Line 54: the file ends here, in the middle of the data model"),
        (b"<html/>", (), "it begins with <html>"),
        (b"", (), "The file is empty"),
        (design(), ("--class", "Bensh"), "There is no class Bensh in this file. Did you mean Bench?"),
        (design(), ("--itop", "Theirs"), "There is no iTop named Theirs. Existing: Ours."),
    ],
    ids=["cut short", "not a data model", "empty", "unknown class", "unknown iTop"],
)
def test_an_invalid_import_changes_nothing(
    itop: ItopInstance, file: Path, data: bytes, options: tuple[str, ...], text: str
) -> None:
    run(file)
    before = list(ImportedClass.objects.values())
    file.write_bytes(data)
    with pytest.raises(CommandError) as caught:
        run(file, *options)
    assert str(caught.value).startswith("Nothing was changed. ")
    assert text in str(caught.value)
    assert list(ImportedClass.objects.values()) == before


def test_a_missing_file_is_reported(itop: ItopInstance, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="Nothing was changed. .*nowhere.xml cannot be read: No such file"):
        run(tmp_path / "nowhere.xml")


def test_without_an_itop_the_error_says_where_to_add_one(file: Path) -> None:
    with pytest.raises(CommandError, match="Add it in the admin"):
        run(file)
