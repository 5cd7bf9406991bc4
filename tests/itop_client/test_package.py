from __future__ import annotations

import subprocess
import sys
import types

import itop_client


def test_nothing_else_is_public() -> None:
    names = {
        name
        for name, value in vars(itop_client).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    assert names - {"annotations"} == set(itop_client.__all__)


def test_the_package_works_without_django() -> None:
    code = "import sys, itop_client; assert not [m for m in sys.modules if m.split('.')[0] == 'django']"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
