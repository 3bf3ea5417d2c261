"""Tests the workflows of the example leaderboard repository: a pull request is verified, commented and published."""

from __future__ import annotations

import shutil
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

from leaderboard_workflow import BOARD, EXAMPLE, Runner, commit_all, example_clone, git, published  # isort: skip


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return example_clone(tmp_path)


REFUSES = """#!/bin/sh
# Refuses to verify.
if [ "$1" = verify ]; then exit 1; fi
mkdir -p site
"""


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
    assert "boards/fashion-small/entries/clipped.yaml" in published(repository)
    assert any(path.startswith("boards/fashion-small/results/verdicts/clipped/") for path in published(repository))
    assert "fashion-small.html" in (repository / "site" / "index.html").read_text(encoding="utf-8")
    (page,) = (repository / "site" / "defenses").glob("*.html")
    shown = page.read_text(encoding="utf-8")
    assert "Clipped pixels" in shown
    assert "A. Author" in shown
    assert "<img src=x" not in shown
    title = yaml.safe_load((EXAMPLE / BOARD).read_text(encoding="utf-8"))["title"]
    assert title in (repository / "site" / "boards" / "fashion-small.html").read_text(encoding="utf-8")

    (repository.parent / "tools" / "purebench").write_text(REFUSES, encoding="utf-8")
    assert runner.run("publish.yml"), "a row with a verdict is not verified again"


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
