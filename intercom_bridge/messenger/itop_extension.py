"""Build the iTop extension that shows the Messenger: a zip of three files with the bridge's address and a key.

iTop finds the classes in main.php by the interfaces that they implement; see iTop's "UI extensibility" documentation:
https://www.itophub.io/wiki/page?id=latest:customization:extensions_api
"""

import datetime as dt
import io
import zipfile
from pathlib import Path
from typing import Final

from django.conf import settings

from intercom_bridge import __version__
from intercom_bridge.models import ItopInstance, MessengerKey

MODULE: Final = "intercom-bridge-messenger"
_FILES: Final = {
    "extension.xml": "extension.xml",
    f"module.{MODULE}.php": "module.php",
    f"main.{MODULE}.php": "main.php",
}
_SOURCES = Path(__file__).parent / "extension"


def build_extension(itop: ItopInstance) -> bytes:
    """Return the zip for this iTop, with its newest key, which is created if it has none.

    Raise SecretDecryptionError if the key cannot be decrypted.
    """
    key = MessengerKey.objects.current(itop)
    values = {
        "@VERSION@": __version__,
        "@DATE@": dt.datetime.now(dt.UTC).date().isoformat(),
        "'@ADDRESS@'": _php(settings.PUBLIC_URL),
        "'@KEY_ID@'": _php(key.key_id),
        "'@KEY@'": _php(key.secret.reveal()),
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, source in _FILES.items():
            text = (_SOURCES / source).read_text(encoding="utf-8")
            for placeholder, value in values.items():
                text = text.replace(placeholder, value)
            archive.writestr(f"{MODULE}/{name}", text)
    return buffer.getvalue()


def _php(text: str) -> str:
    """Return a PHP string literal (https://www.php.net/manual/en/language.types.string.php)."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
