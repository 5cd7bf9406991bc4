"""What Intercom sends, in the shapes its documentation and captured payloads show; names and ids are made up.

`webhook_*` hold HTML bodies as API 2.14 sends them; `*_plain` hold plain text as 2.15 and later do.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


def load(name: str) -> Any:
    """Return a new copy of the parsed payload."""
    return json.loads((FOLDER / f"{name}.json").read_text("utf-8"))


def names(prefix: str = "") -> list[str]:
    return sorted(path.stem for path in FOLDER.glob(f"{prefix}*.json"))
