"""A stand-in for Intercom: REST, notifications and Canvas Kit requests for one workspace.

`python -m sandbox.intercom --port 8002 --bridge http://127.0.0.1:8000` runs it. Tests use `with
running_intercom(bridge_url=...) as intercom`.
"""

from .messenger import SECRET as MESSENGER_SECRET
from .server import SECRET, TOKEN, WORKSPACE_ID, Intercom, running_intercom

__all__ = ["MESSENGER_SECRET", "SECRET", "TOKEN", "WORKSPACE_ID", "Intercom", "running_intercom"]
