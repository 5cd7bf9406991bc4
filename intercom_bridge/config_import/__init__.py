"""Reading the configuration that iTop's own Intercom extension was given, and turning it into our rows.

`read_file` (PHP or XML, never executed) gives a Source; `read_parameters` says what it means; `Import` writes it.
"""

from __future__ import annotations

from .parameters import Parameters, read_parameters
from .plan import Import, Report
from .reader import read_file
from .source import MODULE, ConfigError, Node, Source

__all__ = [
    "MODULE",
    "ConfigError",
    "Import",
    "Node",
    "Parameters",
    "Report",
    "Source",
    "read_file",
    "read_parameters",
]
