"""Import a configuration file into the database.

`read_file` returns a BridgeFile for our own JSON format, and a Source for the configuration of iTop's PHP extension
(PHP or XML, never executed). `read_parameters` interprets a Source, and `ExtensionImport` writes the rows.
"""

from .bridge_file import BridgeFile, export
from .combodo.parameters import Parameters, read_parameters
from .combodo.plan import ExtensionImport
from .combodo.source import MODULE, Source
from .reader import read_file
from .report import Report
from .values import ConfigError, SourceValue, read_secret_variable

__all__ = [
    "MODULE",
    "BridgeFile",
    "ConfigError",
    "ExtensionImport",
    "Parameters",
    "Report",
    "Source",
    "SourceValue",
    "export",
    "read_file",
    "read_parameters",
    "read_secret_variable",
]
