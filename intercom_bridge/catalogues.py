"""The panel's words in its other languages, as the .po files hold them.

Django reads the .mo files; these are what people edit. Only as much of the format is read as `make messages` writes
(https://www.gnu.org/software/gettext/manual/html_node/PO-Files.html).
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from pathlib import Path

LOCALE = Path(__file__).parent / "locale"

_LINE = re.compile(r'(?:(msgctxt|msgid|msgid_plural|msgstr)(?:\[(\d)\])? +)?(".*")')


@dataclass
class Message:
    """`plural` "" for one without. `strings`: the translation, or one for each plural form; "" where it is missing."""

    id: str = ""
    plural: str = ""
    context: str = ""
    strings: list[str] = field(default_factory=list)
    is_fuzzy: bool = False

    @property
    def is_translated(self) -> bool:
        """Whether Django would show it: what gettext has guessed from a similar one is not compiled."""
        return bool(self.strings) and all(self.strings) and not self.is_fuzzy


def catalogue(language: str, locale: Path = LOCALE) -> Path:
    return locale / language / "LC_MESSAGES" / "django.po"


def read(path: Path) -> list[Message]:
    """All messages of a .po file without its header. Raises FileNotFoundError."""
    messages: list[Message] = []
    for block in path.read_text(encoding="utf-8").split("\n\n"):
        message = _message(block)
        if message.id:
            messages.append(message)
    return messages


def _message(block: str) -> Message:
    message = Message()
    name = ""
    for line in block.splitlines():
        if line.startswith("#,"):
            message.is_fuzzy = "fuzzy" in line
        elif found := _LINE.fullmatch(line.strip()):
            text = ast.literal_eval(found[3])
            if found[1]:
                name = found[1]
                if name == "msgstr":
                    message.strings.append("")
            if name == "msgid":
                message.id += text
            elif name == "msgid_plural":
                message.plural += text
            elif name == "msgctxt":
                message.context += text
            elif name == "msgstr":
                message.strings[-1] += text
    return message
