"""Tests that the commands of the example leaderboard repository's guide are valid in that repository."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from blocks import ROOT  # isort: skip
import shell  # isort: skip

EXAMPLE = ROOT / "examples" / "leaderboard-repo"


def commands() -> list[list[str]]:
    text = (EXAMPLE / "CONTRIBUTING-boards.md").read_text(encoding="utf-8")
    found = re.findall(r"^ *```sh\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    lines = [line.strip() for block in found for line in block.splitlines()]
    return [words for line in lines if (words := shlex.split(line))[0] != "git"]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_the_commands_of_the_guide_are_valid(words: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "boards").symlink_to(EXAMPLE / "boards")
    (tmp_path / "my_defense.py").write_text("def MyDefense(classifier):\n    return classifier\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    shell.check(words, run=False)


def test_the_guide_has_the_commands_of_authors_and_of_maintainers() -> None:
    used = {" ".join(words[1 : 3 if words[1] == "site" else 2]) for words in commands()}
    assert used == {"run", "bundle", "verify", "submit", "site build", "site serve"}


def test_the_paths_that_the_guides_name_are_those_of_the_workflow() -> None:
    workflow = (EXAMPLE / ".github" / "workflows" / "publish.yml").read_text(encoding="utf-8")
    guides = [EXAMPLE / "README.md", ROOT / "docs" / "site.md"]
    for name in ("results", "entries"):
        assert f'"$board/{name}' in workflow
        for guide in map(Path, guides):
            assert re.search(rf"boards/(?:NAME|BOARD)/{name}/", guide.read_text(encoding="utf-8")), guide.name
