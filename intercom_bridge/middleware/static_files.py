from typing import Any

from django.contrib.staticfiles.storage import ManifestStaticFilesStorage
from whitenoise.middleware import WhiteNoiseMiddleware  # type: ignore[import-untyped]


class StaticFilesMiddleware(WhiteNoiseMiddleware):  # type: ignore[misc] # the base is untyped
    """Serve the collected static files, but not Django's manifest, which lists them and is in the same directory."""

    def add_file_to_dictionary(self, url: str, path: str, stat_cache: Any = None) -> None:
        if url != f"{self.static_prefix}{ManifestStaticFilesStorage.manifest_name}":
            super().add_file_to_dictionary(url, path, stat_cache=stat_cache)
