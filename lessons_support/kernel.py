"""Whether this is a notebook's kernel, and that of which notebook."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any


def shell() -> Any:
    """IPython's shell if it is that of a notebook's kernel, else None."""
    ipython = sys.modules.get("IPython")
    found = ipython.get_ipython() if ipython else None
    return found if getattr(found, "kernel", None) is not None else None


def notebook() -> Path | None:
    """The notebook of JupyterLab that this is the kernel of, if it is one."""
    path = Path(os.environ.get("JPY_SESSION_NAME", ""))  # by Jupyter's server alone
    return path if shell() and path.suffix == ".ipynb" and path.is_file() else None
