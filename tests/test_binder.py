"""What Binder would build of this repository, by its own builder, without building."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from lessons import NOTEBOOKS

pytestmark = pytest.mark.equipment

ROOT = Path(__file__).resolve().parent.parent
OTHERS = ROOT / ".venv-others" / "bin" / "python"
LIMIT = 120  # seconds


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """The Dockerfile that repo2docker makes of what git has of the repository."""
    if not OTHERS.exists():
        missing = "this needs repo2docker in .venv-others: see .ci/run"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    clone = tmp_path_factory.mktemp("binder") / "clone"
    git = ["git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(clone)]
    subprocess.run(git, check=True, timeout=LIMIT)
    build = [str(OTHERS), "-m", "repo2docker", "--no-build", "--no-run", "--debug"]
    ran = subprocess.run(
        [*build, str(clone)], capture_output=True, text=True, timeout=LIMIT
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout + ran.stderr


def test_binder_takes_the_python_that_is_asked_for(recipe):
    wanted = (ROOT / "binder" / "runtime.txt").read_text().strip()
    version = wanted.removeprefix("python-")
    assert f"environment.py-{version}" in recipe.replace("-2e", ".").replace("-2d", "-")


def test_binder_installs_the_lock_and_the_course(recipe):
    assert '/bin/pip install --no-cache-dir -r "binder/requirements.txt"' in recipe
    lines = (ROOT / "binder" / "requirements.txt").read_text().split("\n")
    assert lines == ["-r ../requirements.txt", ""]


def test_binder_clears_the_outputs(recipe):
    assert "RUN ./binder/postBuild" in recipe
    assert os.access(ROOT / "binder" / "postBuild", os.X_OK)


def test_the_link_that_is_given_opens_the_first_lesson():
    page = (ROOT / "binder" / "README.md").read_text()
    [opened] = re.findall(r"urlpath=lab/tree/(notebooks/1\S+\.ipynb)", page)
    assert (ROOT / opened) == NOTEBOOKS[0]
