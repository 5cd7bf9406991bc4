"""The pick list of time zones."""

import zoneinfo
from functools import cache
from typing import Any

from django import forms
from django.utils.choices import flatten_choices

# Without the aliases of single countries (like US/Pacific) and offsets whose sign is inverted (like Etc/GMT+5).
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
    """A select of time zones. A current value that is not in the list is added to it."""

    def __init__(self, attrs: dict[str, Any] | None = None) -> None:
        super().__init__(attrs, choices=time_zone_choices())

    def optgroups(
        self, name: str, value: list[Any], attrs: dict[str, Any] | None = None
    ) -> list[tuple[str | None, list[dict[str, Any]], int | None]]:
        """Return the options, with the current value among them."""
        if value and value[0] and value[0] not in dict(flatten_choices(self.choices)):
            self.choices = [(value[0], value[0]), *time_zone_choices()]
        return super().optgroups(name, value, attrs)
