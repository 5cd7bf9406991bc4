"""Each check id of the doctor and each metric is listed in docs/operate.md, and no other."""

from __future__ import annotations

import re

from settings.env import BASE_DIR

CHECK_ID = re.compile(r'["`]((?:service|workspace|itop|profile)\.[a-z_]+)["`]')
METRIC = re.compile(r'"(bridge_[a-z_]+)"')
METRIC_ROW = re.compile(r"^\| `(bridge_[a-z_]+)` \|", re.MULTILINE)


def test_the_documented_check_ids_are_those_of_the_doctor() -> None:
    files = (BASE_DIR / "intercom_bridge" / "doctor").glob("*.py")
    used = {check for file in files for check in CHECK_ID.findall(file.read_text(encoding="utf-8"))}
    documented = set(CHECK_ID.findall((BASE_DIR / "docs" / "operate.md").read_text(encoding="utf-8")))
    # These ids are composed of a prefix and the name of a secret.
    assert documented == used | {"workspace.client_secret", "workspace.access_token"}


def test_each_metric_is_documented() -> None:
    source = (BASE_DIR / "intercom_bridge" / "ops" / "metrics.py").read_text(encoding="utf-8")
    table = (BASE_DIR / "docs" / "operate.md").read_text(encoding="utf-8")
    documented = {name.removesuffix("_total") for name in METRIC_ROW.findall(table)}
    assert documented == set(METRIC.findall(source))
