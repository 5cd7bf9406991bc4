"""The values that a configuration file's reader returns, without their lines."""

from __future__ import annotations

from typing import Any

from intercom_bridge.config_import.values import SourceValue


def without_lines(value: SourceValue) -> Any:
    if value.members is None:
        return value.value
    return {key: without_lines(member) for key, member in value.members.items()}
