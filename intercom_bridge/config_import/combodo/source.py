"""The result of the PHP and the XML reader."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from intercom_bridge.config_import.values import SourceValue

MODULE = "combodo-intercom-integration"
MAX_DEPTH = 50


@dataclass(frozen=True)
class Source:
    """The extension's parameters, and those members of $MySettings in a config-itop.php that are used."""

    parameters: Mapping[str | int, SourceValue]
    settings: Mapping[str, SourceValue] = field(default_factory=dict)
