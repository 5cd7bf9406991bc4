"""Dates on the panel are absolute; those of iTop are converted to the time zone of the workspace."""

from __future__ import annotations

import datetime as dt

import pytest

from intercom_bridge.models import ItopInstance, Workspace
from intercom_bridge.panel.screens.parts import format_time, format_value
from intercom_bridge.tickets.preview import sample_context
from itop_client import Deadline
from sandbox.itop import Itop
from tests.teammate import Teammate


@pytest.mark.parametrize(
    ("in_paris", "in_utc", "in_new_york"),
    [
        # Summer time ends in Paris on 25 October 2026 at 3:00, in New York a week later.
        ("2026-10-24 23:30:00", "24 Oct 2026 21:30", "24 Oct 2026 17:30"),
        ("2026-10-25 01:59:59", "24 Oct 2026 23:59", "24 Oct 2026 19:59"),
        # This half hour occurs twice, and iTop does not say which one it is. The first is assumed.
        ("2026-10-25 02:30:00", "25 Oct 2026 00:30", "24 Oct 2026 20:30"),
        ("2026-10-25 03:00:00", "25 Oct 2026 02:00", "24 Oct 2026 22:00"),
        ("2026-10-31 12:00:00", "31 Oct 2026 11:00", "31 Oct 2026 07:00"),
        ("2026-11-02 12:00:00", "2 Nov 2026 11:00", "2 Nov 2026 06:00"),
        ("2027-01-01 00:30:00", "31 Dec 2026 23:30", "31 Dec 2026 18:30"),
    ],
)
def test_an_itop_date_is_displayed_in_the_time_zone_of_the_workspace(
    in_paris: str, in_utc: str, in_new_york: str
) -> None:
    itop = ItopInstance(time_zone="Europe/Paris")

    def displayed(zone: str) -> str:
        context = sample_context(Workspace(time_zone=zone, itop=itop), Deadline(1))
        return format_value(context, in_paris)

    assert displayed("UTC") == in_utc
    assert displayed("America/New_York") == in_new_york


def test_a_date_includes_its_year_and_is_not_relative() -> None:
    assert format_time(dt.datetime(2025, 2, 1, 9, 5, tzinfo=dt.UTC)) == "1 Feb 2025 09:05"


def test_the_ticket_screen_handles_the_repeated_hour_of_a_clock_change(
    teammate: Teammate, workspace: Workspace, itop: Itop
) -> None:
    workspace.time_zone = "Europe/Paris"
    workspace.save()
    itop.store.update("UserRequest", 8, start_date="2026-10-25 01:30:00", last_update="2026-10-25 03:30:00")
    teammate.open().click("open tickets").click("R-000008")
    assert "25 Oct 2026 01:30" in teammate.text and "25 Oct 2026 03:30" in teammate.text
