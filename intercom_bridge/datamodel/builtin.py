"""The ticket classes of a standard iTop (builtin.json), used when no data model was imported.

Sources: the wiki page of iTop's standard data model, and responses of a standard iTop. The file has the format of an
imported class, without labels; see builtin_labels.py.
"""

import json
from pathlib import Path

from .serialization import from_json

_FILE = Path(__file__).with_name("builtin.json")
BUILTIN_CLASSES = {
    ticket_class.name: ticket_class
    for ticket_class in map(from_json, json.loads(_FILE.read_text(encoding="utf-8")))
}
