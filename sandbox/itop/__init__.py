"""A stand-in for iTop's REST/JSON interface that responds as a recorded iTop 3.3 does.

``python -m sandbox.itop --port 8001 --database itop.sqlite3`` runs it. Tests use ``with running_itop() as
itop``.
"""

from .faults import Fault, Faults
from .operations import RefusalError
from .server import Itop, running_itop

__all__ = ["Fault", "Faults", "Itop", "RefusalError", "running_itop"]
