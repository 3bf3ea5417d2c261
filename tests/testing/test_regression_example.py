"""Tests examples/regression: the steps of its GitHub Actions workflow are run here, as a runner would."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "regression"
WORKFLOW = yaml.safe_load((EXAMPLE / ".github" / "workflows" / "robustness.yml").read_text(encoding="utf-8"))
STEPS: list[dict[str, Any]] = WORKFLOW["jobs"]["robustness"]["steps"]
NOISY = '''
import torch
from purebench.core.defense import Function

def mine():
    """A change that harms the defense: it removes most of the image."""
    return Function(lambda x: x * 0.1, random=False)
'''


def shell(folder: Path, line: str) -> subprocess.CompletedProcess[str]:
    """Runs a step as GitHub does: bash with -e, in the folder of the checkout, with the environment of the job."""
    bin = folder / "bin"
    bin.mkdir(exist_ok=True)
    (bin / "python").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n', encoding="utf-8")
    (bin / "purebench").write_text(
        f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m purebench "$@"\n', encoding="utf-8"
    )
    for script in bin.iterdir():
        script.chmod(0o755)
    env = {**os.environ, "PATH": f"{bin}:{os.environ['PATH']}", **WORKFLOW["jobs"]["robustness"]["env"]}
    return subprocess.run(["bash", "-e", "-c", line], cwd=folder, env=env, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository after the command of its README that writes the baseline."""
    folder = tmp_path_factory.mktemp("regression") / "repository"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    text = (EXAMPLE / "README.md").read_text(encoding="utf-8")
    (line,) = [line for line in text.splitlines() if line.startswith("purebench run")]
    done = shell(folder, f"{line} --store records.sqlite --workers 1")
    assert done.returncode == 0, done.stderr
    assert (folder / "baselines" / "mine.json").is_file()
    return folder


def run_steps(folder: Path) -> dict[str, subprocess.CompletedProcess[str]]:
    """Runs the `run:` steps up to the first that fails, without the installation, which needs a network."""
    done: dict[str, subprocess.CompletedProcess[str]] = {}
    for step in STEPS:
        if "run" not in step or step["name"] == "Install":
            continue
        done[step["name"]] = shell(folder, step["run"])
        if done[step["name"]].returncode:
            break
    return done


def test_the_steps_pass_for_an_unchanged_defense(checkout: Path) -> None:
    done = run_steps(checkout)
    assert list(done) == ["Test", "Compare"]
    for one in done.values():
        assert one.returncode == 0, one.stdout + one.stderr
    assert "not worse (unchanged)" in done["Compare"].stdout
    properties = ElementTree.parse(checkout / "robustness.xml").findall(".//property")
    told = {one.get("name"): one.get("value") for one in properties}
    assert told["robustness.1.result"] == "holds"
    assert list((checkout / ".purebench").glob("*.sqlite"))  # the folder of the cache


def test_the_steps_fail_for_a_defense_that_became_worse(checkout: Path) -> None:
    (checkout / "mine.py").write_text(NOISY, encoding="utf-8")
    done = run_steps(checkout)
    assert list(done) == ["Test"]
    assert done["Test"].returncode == 1
    assert "fails" in done["Test"].stdout
    (compare,) = [step["run"] for step in STEPS if step.get("name") == "Compare"]
    after = shell(checkout, compare)
    assert after.returncode == 1, after.stdout + after.stderr
    assert "verdict: worse" in after.stdout


def test_the_installation_is_one_command_of_pip_and_the_actions_have_versions() -> None:
    (install,) = [step["run"] for step in STEPS if step.get("name") == "Install"]
    assert shlex.split(install)[:4] == ["python", "-m", "pip", "install"]
    assert all("@v" in step["uses"] for step in STEPS if "uses" in step)
    (cache,) = [step["with"] for step in STEPS if step.get("uses", "").startswith("actions/cache")]
    test = next(step["run"] for step in STEPS if step.get("name") == "Test")
    assert f"--robustness-store {cache['path']}" in test
    (kept,) = [step for step in STEPS if step.get("uses", "").startswith("actions/upload-artifact")]
    assert kept["if"] == "always()"
    assert f"--junitxml {kept['with']['path']}" in test
