"""Import a configuration file into the database.

`read_file` returns a BridgeFile for our own JSON format, and a Source for the configuration of iTop's PHP extension
(PHP or XML, never executed). `read_parameters` interprets a Source, and `ExtensionImport` writes the rows.
"""

from .applying import Report
from .bridge_file import BridgeFile, export
from .combodo.parameters import read_parameters
from .combodo.plan import ExtensionImport
from .reader import read_file
from .values import MODULE, ConfigError, Source, read_secret_variable

__all__ = [
    "MODULE",
    "BridgeFile",
    "ConfigError",
    "ExtensionImport",
    "Report",
    "Source",
    "export",
    "read_file",
    "read_parameters",
    "read_secret_variable",
]
