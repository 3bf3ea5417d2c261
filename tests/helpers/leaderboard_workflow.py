"""Runs the steps of the example leaderboard repository's workflows, as a runner of GitHub does.

Every `run` step is executed as it stands; stand-ins replace GitHub's own actions and its command `gh`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "leaderboard-repo"
EXPRESSION = re.compile(r"\$\{\{\s*(.+?)\s*\}\}")
BOARD = "boards/fashion-small/board.yaml"
PUREBENCH = """#!/bin/sh
# Workflows let the verifier's seed be random; here it is fixed, because honest rows are undecided under some seeds.
if [ "$1" = verify ]; then set -- "$@" --seed 1; fi
exec {python} -m purebench "$@"
"""
GH = """#!/bin/sh
if [ "$1" = api ]; then echo 7; exit; fi
echo "$@" >> "$GH_LOG"
cp comment.md "$GH_LOG.md"
"""


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def commit_all(folder: Path, message: str) -> str:
    git(folder, "add", "-A")
    git(folder, "-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-qm", message)
    return git(folder, "rev-parse", "HEAD")


def example_clone(tmp_path: Path) -> Path:
    """Make a clone of the example repository, whose origin is a bare repository."""
    clone = tmp_path / "clone"
    shutil.copytree(EXAMPLE, clone)
    git(tmp_path, "init", "-q", "--bare", "-b", "main", str(tmp_path / "origin.git"))
    git(clone, "init", "-q", "-b", "main")
    git(clone, "remote", "add", "origin", str(tmp_path / "origin.git"))
    commit_all(clone, "The example")
    git(clone, "push", "-q", "origin", "main")
    return clone


class Runner:
    """Runs the steps of a workflow in a clone, as a runner of GitHub does."""

    def __init__(self, clone: Path, known: dict[str, str]):
        self.clone, self.known = clone, known
        self.log = clone.parent / "gh.log"
        tools = clone.parent / "tools"
        tools.mkdir(exist_ok=True)
        (tools / "gh").write_text(GH, encoding="utf-8")
        (tools / "purebench").write_text(PUREBENCH.format(python=sys.executable), encoding="utf-8")
        (tools / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n', encoding="utf-8")
        for tool in tools.iterdir():
            tool.chmod(0o755)
        self.env = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "GH_LOG": str(self.log)}
        self.env |= {"XDG_DATA_HOME": str(clone.parent / "data"), "PIP_NO_INDEX": "1"}

    def value(self, text: str) -> str:
        return EXPRESSION.sub(lambda found: self.known[found[1]], text)

    def run(self, workflow: str) -> bool:
        """Runs all steps of the only job, and returns whether all succeeded."""
        path = self.clone / ".github" / "workflows" / workflow
        (job,) = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"].values()
        assert job["timeout-minutes"] <= 180
        good = True
        for step in job["steps"]:
            if not good and step.get("if") != "always()":
                continue
            if "uses" in step:
                assert re.fullmatch(r"actions/[a-z-]+@v\d+", step["uses"]), "only GitHub's own actions have stand-ins"
                continue
            good = self._step(step) and good
        return good

    def _step(self, step: dict[str, Any]) -> bool:
        output = self.clone.parent / "output.txt"
        output.write_text("", encoding="utf-8")
        own = {name: self.value(str(value)) for name, value in step.get("env", {}).items()}
        assert "${{" not in step["run"], "values of a pull request are passed as variables, not into the script"
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
            cwd=self.clone,
            env={**self.env, **own, "GITHUB_OUTPUT": str(output)},
            capture_output=True,
            text=True,
            check=False,
        )
        print(step["name"], done.stdout, done.stderr)
        for line in output.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition("=")
            self.known[f"steps.{step.get('id')}.outputs.{name}"] = value
        return done.returncode == 0


def published(repository: Path) -> list[str]:
    """The files of the branch main of the origin."""
    told = git(repository.parent / "origin.git", "ls-tree", "-r", "--name-only", "main")
    return told.splitlines()
