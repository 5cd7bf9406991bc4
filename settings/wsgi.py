from __future__ import annotations

import os
from importlib import import_module

import structlog
from django.conf import settings
from django.core.wsgi import get_wsgi_application

from intercom_bridge import __version__

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings.production")

application = get_wsgi_application()
# Now, so that the first request does not wait for it.
import_module(settings.ROOT_URLCONF)
structlog.get_logger(__name__).info("web.started", version=__version__)
