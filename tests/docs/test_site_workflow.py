"""Tests that the workflow of the site runs targets of the Makefile, and that the documentation links to the site."""

import importlib.util
import re
import subprocess

import pytest
import yaml
from mkdocs.structure.nav import Navigation

from blocks import ROOT  # isort: skip


@pytest.fixture
def workflow():
    return yaml.safe_load((ROOT / ".github" / "workflows" / "site.yml").read_text(encoding="utf-8"))


def test_every_step_that_runs_is_a_target_and_its_folder_is_published(workflow):
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    runs = [step["run"] for step in steps if "run" in step]
    assert runs == ["make site"]
    told = subprocess.run(["make", "-n", "site"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    (published,) = [step["with"]["path"] for step in steps if "upload-pages-artifact" in step.get("uses", "")]
    assert re.search(rf"purebench site build --out {published} --docs docs/", told)
    assert re.search(rf"mkdocs build .*--site-dir {published}/docs", told)
    assert workflow["jobs"]["publish"]["needs"] == "build"
    assert "pull_request" in workflow["jobs"]["publish"]["if"]


def test_the_documentation_links_to_the_site_that_it_is_published_with(monkeypatch):
    spec = importlib.util.spec_from_file_location("docs_sources", ROOT / "tools" / "docs_sources.py")
    hooks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hooks)
    monkeypatch.delenv("PUREBENCH_SITE", raising=False)
    assert hooks.on_nav(Navigation([], []), None, None).items == []
    monkeypatch.setenv("PUREBENCH_SITE", "../index.html")
    (link,) = hooks.on_nav(Navigation([], []), None, None).items
    assert (link.title, link.url) == ("Leaderboards", "../index.html")
