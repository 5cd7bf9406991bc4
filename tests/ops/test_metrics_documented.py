"""Each metric stands in the handbook, with its labels, and no other does."""

from __future__ import annotations

import re

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from intercom_bridge import metrics
from intercom_bridge.models import Delivery, ItopInstance
from settings.environment import BASE_DIR
from tests.admin.test_dashboard import deliver, make_workspace

pytestmark = pytest.mark.django_db

HANDBOOK = (BASE_DIR / "docs" / "operate.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `(bridge_\w+)` \| ([\w, ]*) ?\|", re.MULTILINE)
# Of a counter the handbook says the name that is asked for.
SAMPLES = re.compile(r"_(bucket|sum|count|created)$")


def exported() -> dict[str, set[str]]:
    """Name -> labels, of all that this process counts and of what the database says."""
    deliver(make_workspace("Support", "abcd1234"), "failed")
    metrics.count_delivery(Delivery.objects.get())
    metrics.itop_seconds.labels(ItopInstance.objects.get().name, "core/get", "ok").observe(0)
    metrics.intercom_seconds.labels("abcd1234", "GET", "ok").observe(0)
    metrics.panel_seconds.labels("home").observe(0)
    text = generate_latest(metrics.registry).decode() + metrics.exposition().decode()
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if not sample.name.endswith("_created"):
                found.setdefault(SAMPLES.sub("", sample.name), set()).update(set(sample.labels) - {"le"})
    return found


def test_the_handbook_s_table_is_what_is_exported() -> None:
    documented = {name: set(re.findall(r"\w+", labels)) for name, labels in ROW.findall(HANDBOOK)}
    assert documented == exported()


def test_the_handbook_names_each_reason() -> None:
    listed = HANDBOOK[HANDBOOK.index("`why` is one of") :].partition(".")[0]
    assert set(re.findall(r"`(\w+)`", listed)) - {"why"} == {name for _, name in metrics._WHYS} | {"other"}


def test_each_alert_asks_for_what_there_is() -> None:
    alerts = HANDBOOK[HANDBOOK.index("Alerts that mean something") :].partition("**The log.**")[0]
    asked = {SAMPLES.sub("", name) for name in re.findall(r"bridge_\w+", alerts)}
    assert len(asked) >= 6
    assert asked <= exported().keys()
