"""The pick list of time zones."""

import zoneinfo
from functools import cache
from typing import Any

from django import forms
from django.utils.choices import flatten_choices

# The regions in the list. Aliases such as US/Pacific are omitted, and so are names such as Etc/GMT+5, whose sign is the
# opposite of the usual one.
REGIONS = ("Africa", "America", "Antarctica", "Asia", "Atlantic", "Australia", "Europe", "Indian", "Pacific")


@cache
def time_zone_choices() -> tuple[tuple[str, Any], ...]:
    """Return UTC, and the time zones by region, as choices of a form field."""
    names = sorted(zoneinfo.available_timezones())
    regions = (
        (region, tuple((name, name.replace("_", " ")) for name in names if name.startswith(f"{region}/")))
        for region in REGIONS
    )
    return (("UTC", "UTC"), *regions)


class TimeZoneSelect(forms.Select):
    """A pick list of time zones. If the stored time zone is not in the list, it is added."""

    def __init__(self, attrs: dict[str, Any] | None = None) -> None:
        super().__init__(attrs, choices=time_zone_choices())

    def optgroups(
        self, name: str, value: list[Any], attrs: dict[str, Any] | None = None
    ) -> list[tuple[str | None, list[dict[str, Any]], int | None]]:
        """Return the options, which always include the stored time zone."""
        stored_zone = value[0] if value else ""
        if stored_zone and stored_zone not in dict(flatten_choices(self.choices)):
            self.choices = [(stored_zone, stored_zone), *time_zone_choices()]
        return super().optgroups(name, value, attrs)
