"""Each check id of the doctor, each metric and each reason about files is explained in the handbook."""

from __future__ import annotations

import re

from intercom_bridge.files.download import REGION_HOSTS
from intercom_bridge.models.reason import ReasonCode
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


def test_each_reason_why_a_file_is_not_copied_is_documented() -> None:
    text = (BASE_DIR / "docs" / "troubleshoot.md").read_text(encoding="utf-8")
    codes = [code for code in ReasonCode.values if code.startswith("file")]
    assert codes
    assert [code for code in codes if f"`{code}`" not in text] == []


def test_the_documented_hosts_are_those_from_which_files_are_downloaded() -> None:
    text = (BASE_DIR / "docs" / "files.md").read_text(encoding="utf-8")
    hosts = {host for names in REGION_HOSTS.values() for host in names}
    # The page writes “1 to 9”.
    hosts -= {f"*.intercom-attachments-{number}.com" for number in range(2, 9)}
    assert sorted(host for host in hosts if f"`{host}`" not in text) == []
