"""`manage.py import_datamodel`."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from intercom_bridge.datamodel.known import attribute_label, ticket_class_of
from intercom_bridge.models import ItopInstance, LearnedClass, TicketProfile, Workspace

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


def learned() -> list[str]:
    return list(LearnedClass.objects.values_list("name", flat=True))


def test_the_classes_are_learned_and_what_was_learned_is_said(itop: ItopInstance, file: Path) -> None:
    said = run(file)
    assert learned() == ["LiftRepair", "Repair"]
    assert "Repair      attributes: 25, mandatory: 9" in said
    assert "Labels in: de, en, en-gb, es, fr" in said
    assert "Learned: 2 classes for Ours." in said
    repair = ticket_class_of(itop, "Repair")
    assert attribute_label(repair, "hurry") == "Hurry"
    row = LearnedClass.objects.get(name="Repair")
    assert row.file_name == "datamodel-production.xml"


def test_a_dry_run_says_the_same_and_writes_nothing(itop: ItopInstance, file: Path) -> None:
    said = run(file, "--dry-run")
    assert "attributes: 25" in said
    assert "Dry run, nothing was written: 2 classes for Ours." in said
    assert learned() == []


def test_a_class_is_learned_when_a_profile_or_the_command_line_names_it(
    itop: ItopInstance, file: Path
) -> None:
    TicketProfile.objects.create(name="Benches", ticket_class="Bench")
    run(file, "--class", "Ticket")
    assert learned() == ["Bench", "LiftRepair", "Repair", "Ticket"]


def test_a_class_once_named_is_learned_again_without_being_named(itop: ItopInstance, file: Path) -> None:
    run(file, "--class", "Bench")
    run(file)
    assert learned() == ["Bench", "LiftRepair", "Repair"]


def test_another_file_replaces_what_was_learned(itop: ItopInstance, file: Path) -> None:
    other = ItopInstance.objects.create(name="Other", url="https://other.example.com", token="t0ken")
    run(file)
    LearnedClass.objects.create(itop=other, name="Boat", definition={}, file_name="b.xml")
    file.write_bytes(design(TICKET, ONLY_LIFTS))
    said = run(file)
    assert "Repair is not in this data model: forgotten." in said
    assert learned() == ["Boat", "LiftRepair"]
    assert "load" not in ticket_class_of(itop, "LiftRepair").attributes


def test_what_does_not_fit_in_the_profiles_is_said(itop: ItopInstance, file: Path) -> None:
    TicketProfile.objects.create(name="Requests")
    repairs = TicketProfile.objects.create(name="Repairs", ticket_class="Repair")
    elsewhere = TicketProfile.objects.create(name="Elsewhere", ticket_class="Repair")
    other = ItopInstance.objects.create(name="Other", url="https://other.example.com", token="t0ken")
    Workspace.objects.create(workspace_id="a", name="A", itop=itop, profile=repairs)
    Workspace.objects.create(workspace_id="b", name="B", itop=other, profile=elsewhere)
    said = run(file)
    assert "Does not fit: Requests: there is no class UserRequest in this data model." in said
    assert "Does not fit: Repairs, form attributes: Repair has no attribute service_id." in said
    assert (
        "Does not fit: Repairs: its form does not ask for wing_id, bench_id, which a new Repair needs."
        in said
    )
    assert "Elsewhere" not in said


@pytest.mark.parametrize(
    ("data", "options", "words"),
    [
        (design()[:3000], (), "Line 54: the file ends here, in the middle of the data model"),
        (b"<html/>", (), "it begins with <html>"),
        (b"", (), "The file is empty"),
        (design(), ("--class", "Bensh"), "There is no class Bensh in this file. Did you mean Bench?"),
        (design(), ("--itop", "Theirs"), "There is no iTop called Theirs. There are: Ours."),
    ],
)
def test_what_cannot_be_learned_changes_nothing_and_says_so(
    itop: ItopInstance, file: Path, data: bytes, options: tuple[str, ...], words: str
) -> None:
    run(file)
    before = list(LearnedClass.objects.values())
    file.write_bytes(data)
    with pytest.raises(CommandError) as caught:
        run(file, *options)
    assert str(caught.value).startswith("Nothing was changed. ")
    assert words in str(caught.value)
    assert list(LearnedClass.objects.values()) == before


def test_a_file_that_is_not_there_is_said(itop: ItopInstance, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="Nothing was changed. .*nowhere.xml cannot be read: No such file"):
        run(tmp_path / "nowhere.xml")


def test_without_any_itop_it_says_where_to_add_one(file: Path) -> None:
    with pytest.raises(CommandError, match="There is none yet: add it in the admin"):
        run(file)
