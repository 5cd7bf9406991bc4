"""Export our configuration to a JSON file, and import this file or the configuration of iTop's PHP extension.

`read_file` recognises the format. It returns a BridgeFile for our own JSON format; its `apply` writes the rows. For the
configuration of the PHP extension (PHP or XML, never executed) it returns a Source: `read_parameters` interprets the
Source, and `ExtensionImport` writes the rows.
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
