"""Whether this is a notebook's kernel."""

from __future__ import annotations

import sys
from typing import Any


def shell() -> Any:
    """IPython's shell if it is that of a notebook's kernel, else None."""
    ipython = sys.modules.get("IPython")
    found = ipython.get_ipython() if ipython else None
    return found if getattr(found, "kernel", None) is not None else None
