from __future__ import annotations

import os

import structlog
from django.core.wsgi import get_wsgi_application

from intercom_bridge import __version__

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings.production")

application = get_wsgi_application()
structlog.get_logger(__name__).info("web.started", version=__version__)
