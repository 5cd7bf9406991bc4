"""The ticket classes of a standard iTop (builtin.json), used when no data model was imported.

Sources: the wiki page of iTop's standard data model, and responses of a standard iTop. The file has the format of
serialization.py. It contains no labels, because builtin_labels.py has them.
"""

import json
from pathlib import Path

from .serialization import from_json

_FILE = Path(__file__).with_name("builtin.json")
BUILTIN_CLASSES = {
    ticket_class.name: ticket_class
    for ticket_class in map(from_json, json.loads(_FILE.read_text(encoding="utf-8")))
}
