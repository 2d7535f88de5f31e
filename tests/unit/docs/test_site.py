"""The site is built from what is here, strictly, and asks nobody for anything."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.docs.pages import ROOT

NOWHERE = "http://127.0.0.1:9"
LOADED = re.compile(
    r"""(?:<(?:script|img|iframe)[^>]*\ssrc|<link[^>]*\shref)\s*=\s*["'](?:https?:)?//[^"']+"""
    r"""|@import\s|url\(\s*["']?(?:https?:)?//[^)]+"""
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site with every way out closed."""
    folder = tmp_path_factory.mktemp("site")
    pytest.importorskip("mkdocs")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        env={**os.environ, "HTTP_PROXY": NOWHERE, "HTTPS_PROXY": NOWHERE, "ALL_PROXY": NOWHERE},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_the_site_builds_strictly_with_every_page_of_the_tutorial(site: Path) -> None:
    assert (site / "index.html").exists()
    assert len(list((site / "tutorial").glob("*.html"))) == 6


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    for page in [*site.rglob("*.html"), *site.rglob("*.css")]:
        found = LOADED.findall(page.read_text(encoding="utf-8", errors="replace"))
        assert not found, (page.name, found)
