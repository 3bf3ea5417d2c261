"""Tests that the workflow `publish.yml` of the example leaderboard repository loses no merged submission."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from leaderboard_workflow import Runner, commit_all, example_clone, git, published  # isort: skip

VERIFIER = """#!/bin/sh
# Stands in for the costly verification: its exit code is in the description of the submission.
if [ "$1" = site ]; then mkdir -p site; exit; fi
echo "$2" >> ../verified.log
test -f ../merge.sh && . ../merge.sh
code=$(cat "$(dirname "$2")/entry.yaml")
if [ "$code" = 0 ] || [ "$code" = 3 ]; then
  row=$(basename "$(dirname "$2")")
  mkdir -p "boards/b/results/verdicts/$row"
  echo "{}" > "boards/b/results/$row.json"
  sha256sum "$2" > "boards/b/results/verdicts/$row/1.json"
fi
exit "$code"
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return example_clone(tmp_path)


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
