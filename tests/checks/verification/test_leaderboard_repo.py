"""Runs the steps of the example repository's workflows: a pull request is verified, commented and published.

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

import pytest
import yaml

from purebench.boards.parse import load_board
from purebench.checks.verification.submission import write_submission
from purebench.execution.board_run import run_board
from purebench.results.files.bundles.writing import make_bundle
from purebench.results.files.export import load_results
from purebench.results.files.verdicts import Badge, load_badges

ROOT = Path(__file__).resolve().parents[3]
EXAMPLE = ROOT / "examples" / "leaderboard-repo"
EXPRESSION = re.compile(r"\$\{\{\s*(.+?)\s*\}\}")
BOARD = "boards/fashion-small/board.yaml"
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


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A clone of the example repository, whose origin is a bare repository."""
    clone = tmp_path / "clone"
    shutil.copytree(EXAMPLE, clone)
    git(tmp_path, "init", "-q", "--bare", "-b", "main", str(tmp_path / "origin.git"))
    git(clone, "init", "-q", "-b", "main")
    git(clone, "remote", "add", "origin", str(tmp_path / "origin.git"))
    commit_all(clone, "The example")
    git(clone, "push", "-q", "origin", "main")
    return clone


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of a defense in a file of its own on the example's board."""
    folder = tmp_path_factory.mktemp("author")
    text = "from purebench.core.defense import Defense\n\ndef clipped(classifier):\n"
    (folder / "mine.py").write_text(
        text + "    return Defense(lambda x: classifier(x.clamp(0.02, 0.98)))\n", encoding="utf-8"
    )
    plain = yaml.safe_load((EXAMPLE / BOARD).read_text(encoding="utf-8"))
    plain["defenses"] = {"clipped": "mine.py:clipped"}
    (folder / "board.yaml").write_text(yaml.safe_dump(plain, sort_keys=False), encoding="utf-8")
    run_board(load_board(folder / "board.yaml"), folder / "store.sqlite", workers=1)
    (folder / "clipped.zip").write_bytes(make_bundle(folder / "store.sqlite", "fashion-small", "clipped"))
    return folder / "clipped.zip"


class Runner:
    """Runs the steps of a workflow in a clone, as a runner of GitHub does."""

    def __init__(self, clone: Path, known: dict[str, str]):
        self.clone, self.known = clone, known
        self.log = clone.parent / "gh.log"
        tools = clone.parent / "tools"
        tools.mkdir(exist_ok=True)
        (tools / "gh").write_text(GH, encoding="utf-8")
        (tools / "purebench").write_text(f'#!/bin/sh\nexec {sys.executable} -m purebench "$@"\n', encoding="utf-8")
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


def submitted(repository: Path, bundle: Path, **described: Any) -> Runner:
    """Commits a submission on a branch, and returns a runner of the workflows for its pull request."""
    base = git(repository, "rev-parse", "HEAD")
    git(repository, "checkout", "-q", "-b", "submission")
    given = {"title": "Clipped pixels", "authors": ["A. Author"], **described}
    write_submission(bundle, repository / "submissions", given)
    commit_all(repository, "A submission")
    return Runner(
        repository,
        {
            "github.event.pull_request.base.sha": base,
            "github.event.before": base,
            "github.token": "none",
            "github.repository": "owner/boards",
            "github.event.workflow_run.head_repository.owner.login": "author",
            "github.event.workflow_run.head_branch": "submission",
            "github.event.workflow_run.html_url": "https://example.org/run",
        },
    )


def test_a_pull_request_is_verified_commented_and_published(repository: Path, bundle: Path) -> None:
    hostile = "<img src=x onerror=alert(1)> [link](javascript:alert(1)) @team `code` | cell"
    runner = submitted(repository, bundle, note=hostile)
    assert runner.run("verify.yml")
    assert runner.run("comment.yml")
    assert "pr comment 7 --edit-last --create-if-none --body-file comment.md" in runner.log.read_text(encoding="utf-8")
    told = Path(f"{runner.log}.md").read_text(encoding="utf-8")
    assert "### Verification of `clipped` on `fashion-small`: verified" in told
    assert "| title | `Clipped pixels` |" in told
    inert = "<img src=x onerror=alert(1)> [link](javascript:alert(1)) @team 'code' ¦ cell"
    assert f"| note | `{inert}` |" in told

    (repository / "comment.md").unlink()
    git(repository, "checkout", "-q", "main")
    git(repository, "merge", "-q", "--ff-only", "submission")
    assert runner.run("publish.yml")
    place = repository / "boards" / "fashion-small" / "results"
    results = load_results(place)
    assert [one.name for one in results] == ["clipped"]
    assert load_badges(place, results)["clipped"].badge is Badge.VERIFIED
    assert {"boards/fashion-small/results/verdicts/clipped.json", "boards/fashion-small/entries/clipped.yaml"} <= set(
        published(repository)
    )
    assert "fashion-small.html" in (repository / "site" / "index.html").read_text(encoding="utf-8")
    (page,) = (repository / "site" / "defenses").glob("*.html")
    shown = page.read_text(encoding="utf-8")
    assert "Clipped pixels" in shown
    assert "A. Author" in shown
    assert "<img src=x" not in shown
    title = yaml.safe_load((EXAMPLE / BOARD).read_text(encoding="utf-8"))["title"]
    assert title in (repository / "site" / "boards" / "fashion-small.html").read_text(encoding="utf-8")

    (repository.parent / "tools" / "purebench").write_text(VERIFIER, encoding="utf-8")
    assert runner.run("publish.yml")
    assert not (repository.parent / "verified.log").exists(), "a row with a verdict is not verified again"


def published(repository: Path) -> list[str]:
    """The files of the branch main of the origin."""
    told = git(repository.parent / "origin.git", "ls-tree", "-r", "--name-only", "main")
    return told.splitlines()


VERIFIER = """#!/bin/sh
# Stands in for the costly verification: its exit code is in the description of the submission.
if [ "$1" = site ]; then mkdir -p site; exit; fi
echo "$2" >> ../verified.log
test -f ../merge.sh && . ../merge.sh
code=$(cat "$(dirname "$2")/entry.yaml")
if [ "$code" = 0 ] || [ "$code" = 3 ]; then
  row=$(basename "$(dirname "$2")")
  mkdir -p boards/b/results/verdicts
  echo "{}" > "boards/b/results/$row.json"
  sha256sum "$2" > "boards/b/results/verdicts/$row.json"
fi
exit "$code"
"""


@pytest.fixture
def publishing(repository: Path) -> Runner:
    """A runner of publish.yml that waits for nothing and verifies by `VERIFIER`."""
    path = repository / ".github" / "workflows" / "publish.yml"
    text = path.read_text(encoding="utf-8")
    path.write_text(re.sub(r"PAUSE: \d+", "PAUSE: 0", text), encoding="utf-8")
    commit_all(repository, "No pauses")
    git(repository, "push", "-q", "origin", "main")
    runner = Runner(repository, {})
    for name, text in {"purebench": VERIFIER, "python": "#!/bin/sh\n"}.items():
        (repository.parent / "tools" / name).write_text(text, encoding="utf-8")
    return runner


def merged(repository: Path, **codes: int) -> None:
    """Merges submissions, whose verification has these exit codes, as GitHub does: on the branch of the origin."""
    other = repository.parent / "other"
    if not other.exists():
        git(repository.parent, "clone", "-q", str(repository.parent / "origin.git"), "other")
    git(other, "pull", "-q", "--rebase")
    for row, code in codes.items():
        folder = other / "submissions" / "b" / row
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "bundle.zip").write_text(f"{row} {code}", encoding="utf-8")
        (folder / "entry.yaml").write_text(str(code), encoding="utf-8")
    commit_all(other, "Merged")
    git(other, "push", "-q", "origin", "HEAD:main")


def verified(repository: Path) -> list[str]:
    """The rows that were verified since the last call."""
    log = repository.parent / "verified.log"
    rows = [Path(line).parent.name for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []
    log.unlink(missing_ok=True)
    return rows


def test_every_merged_submission_is_verified_once_whatever_pushes_were_seen(
    repository: Path, publishing: Runner
) -> None:
    """The first push has no commit before it, and of the waiting runs GitHub keeps the newest only."""
    merged(repository, one=0)
    merged(repository, two=0)
    assert publishing.run("publish.yml")
    assert verified(repository) == ["one", "two"]
    assert {"boards/b/results/one.json", "boards/b/results/two.json"} <= set(published(repository))
    assert publishing.run("publish.yml")
    assert verified(repository) == []
    merged(repository, two=3)
    assert publishing.run("publish.yml")
    assert verified(repository) == ["two"], "a new version is verified"


@pytest.mark.parametrize("code", [1, 2, 124])
def test_rows_that_fail_make_the_run_red_after_the_others_are_published(
    repository: Path, publishing: Runner, code: int
) -> None:
    merged(repository, bad=code, good=0)
    assert not publishing.run("publish.yml")
    assert verified(repository) == ["bad", "good"]
    assert {"boards/b/results/good.json", "boards/b/entries/good.yaml", "boards/b/refused/bad.txt"} <= set(
        published(repository)
    )
    assert "boards/b/entries/bad.yaml" not in published(repository)
    assert (repository / "site").is_dir(), "the site is built although a row failed"
    assert publishing.run("publish.yml")
    assert verified(repository) == [], "a refuted row is not verified again until it passes"


def test_a_first_submission_that_is_refuted_fails_without_a_site(repository: Path, publishing: Runner) -> None:
    merged(repository, bad=1)
    assert not publishing.run("publish.yml")
    assert "boards/b/refused/bad.txt" in published(repository)
    assert not (repository / "site").exists()
    assert "steps.site.outputs.built" not in publishing.known


def test_a_merge_during_the_verification_loses_nothing(repository: Path, publishing: Runner) -> None:
    merged(repository, one=0)
    other = repository.parent / "other"
    (repository.parent / "merge.sh").write_text(
        f"rm ../merge.sh; cd {other} && mkdir -p submissions/b/two && echo 2 > submissions/b/two/bundle.zip && "
        "echo 0 > submissions/b/two/entry.yaml && git add -A && git -c user.name=a -c user.email=a@b.c commit -qm two "
        f"&& git push -q origin HEAD:main; cd {repository}\n",
        encoding="utf-8",
    )
    assert publishing.run("publish.yml")
    assert {"boards/b/results/one.json", "submissions/b/two/bundle.zip"} <= set(published(repository))
    assert publishing.run("publish.yml")
    assert verified(repository) == ["one", "two"]
    assert "boards/b/results/two.json" in published(repository)


def test_rows_that_the_time_of_a_run_does_not_suffice_for_are_left_to_the_next(
    repository: Path, publishing: Runner
) -> None:
    merged(repository, one=0)
    path = repository / ".github" / "workflows" / "publish.yml"
    whole = path.read_text(encoding="utf-8")
    text = re.sub(r"LAST_START: \d+", "LAST_START: 0", whole)
    assert text != whole
    path.write_text(text, encoding="utf-8")
    commit_all(repository, "No time")
    assert not publishing.run("publish.yml")
    assert verified(repository) == []
    path.write_text(whole, encoding="utf-8")
    commit_all(repository, "Time")
    assert publishing.run("publish.yml")
    assert verified(repository) == ["one"]


@pytest.mark.parametrize("change", ["outside", "two", "damaged", "settings"])
def test_invalid_pull_requests_fail_and_the_comment_says_so(repository: Path, bundle: Path, change: str) -> None:
    runner = submitted(repository, bundle)
    folder = repository / "submissions" / "fashion-small" / "clipped"
    if change == "outside":
        (repository / "README.md").write_text("mine", encoding="utf-8")
    elif change == "two":
        shutil.copytree(folder, folder.with_name("other"))
    elif change == "damaged":
        (folder / "code" / "mine.py").write_text("import this\n", encoding="utf-8")
    else:
        board = repository / BOARD
        git(repository, "checkout", "-q", "main")
        board.write_text(board.read_text(encoding="utf-8").replace("apgd(steps=5)", "apgd(steps=50)"), encoding="utf-8")
        runner.known["github.event.pull_request.base.sha"] = commit_all(repository, "A stronger board")
        git(repository, "checkout", "-q", "submission")
        git(repository, "-c", "user.name=a", "-c", "user.email=a@example.org", "rebase", "-q", "main")
    if change != "settings":
        commit_all(repository, "A change")
    assert not runner.run("verify.yml")
    assert runner.run("comment.yml")
    told = Path(f"{runner.log}.md").read_text(encoding="utf-8")
    expected = "one folder submissions/BOARD/ROW" if change in ("outside", "two") else "The submission is invalid"
    assert expected in told
    assert "Verification of" not in told


def test_workflows_that_run_foreign_code_cannot_write(repository: Path) -> None:
    verify, comment = (
        yaml.safe_load((repository / ".github" / "workflows" / name).read_text(encoding="utf-8"))
        for name in ("verify.yml", "comment.yml")
    )
    assert True in verify  # YAML reads the key `on` as true
    assert set(verify[True]) == {"pull_request"}
    assert verify["permissions"] == {"contents": "read"}
    (job,) = verify["jobs"].values()
    assert job["steps"][0]["with"]["persist-credentials"] is False
    assert "secrets." not in str(verify)
    (job,) = comment["jobs"].values()
    assert not any("checkout" in step.get("uses", "") for step in job["steps"])
