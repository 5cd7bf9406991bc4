"""Reading a configuration from a file, and turning it into our rows.

`read_file` gives a Source where it is the PHP extension's (PHP or XML, never executed): `read_parameters` says what it
means, and `Import` writes it. Where it is our own it gives a BridgeFile, which `BridgeImport` writes.
"""

from __future__ import annotations

from .bridge_file import BridgeFile, BridgeImport, export
from .parameters import Parameters, read_parameters
from .plan import Import
from .reader import read_file
from .report import Report
from .source import MODULE, ConfigError, Node, Source
from .variable import secret_in

__all__ = [
    "MODULE",
    "BridgeFile",
    "BridgeImport",
    "ConfigError",
    "Import",
    "Node",
    "Parameters",
    "Report",
    "Source",
    "export",
    "read_file",
    "read_parameters",
    "secret_in",
]
