"""Build the iTop extension that shows the Messenger: a zip of three files with the bridge's address and a key.

iTop calls the classes in main.php because they implement its interfaces for extensions:
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
# The name of each file in the zip, and of its source in the directory `extension`.
_FILES: Final = {
    "extension.xml": "extension.xml",
    f"module.{MODULE}.php": "module.php",
    f"main.{MODULE}.php": "main.php",
}
_SOURCES = Path(__file__).parent / "extension"


def build_extension(itop: ItopInstance) -> bytes:
    """Return the zip file for this iTop. It contains the iTop's newest key. If the iTop has no key, one is created.

    Raise SecretDecryptionError if the key cannot be decrypted.
    """
    key = MessengerKey.objects.current(itop)
    values = {
        "@VERSION@": __version__,
        "@DATE@": dt.datetime.now(dt.UTC).date().isoformat(),
        "'@ADDRESS@'": _php_literal(settings.PUBLIC_URL),
        "'@KEY_ID@'": _php_literal(key.key_id),
        "'@KEY@'": _php_literal(key.secret.reveal()),
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, source in _FILES.items():
            text = (_SOURCES / source).read_text(encoding="utf-8")
            for placeholder, value in values.items():
                text = text.replace(placeholder, value)
            archive.writestr(f"{MODULE}/{name}", text)
    return buffer.getvalue()


def _php_literal(text: str) -> str:
    """Return a PHP string literal (https://www.php.net/manual/en/language.types.string.php)."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
