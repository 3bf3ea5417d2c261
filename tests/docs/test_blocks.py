"""Tests that every command and Python block of README and docs runs; blocks marked as too long are parsed only."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from purebench.boards import bundled as boards
from purebench.boards.parse import load_board
from purebench.checks.sweeps.definition import read_sweep, sweep_file

from blocks import CHECKED, PAGES, ROOT, SHOWN, Block, blocks, sentences  # isort: skip
import shell  # isort: skip

QUICK = ("clean", "apgd-blind")
"""Attacks that bundled boards keep in these tests, which test the docs and not the attacks."""
MOST_MARKED = 0.34
"""Largest share of the commands that may be marked as parsed only."""


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory for a page, in which the bundled boards have all rows but only two attacks."""
    (tmp_path / "boards").mkdir()
    small = {}
    for name, path in boards.bundled().items():
        board = yaml.safe_load(path.read_text(encoding="utf-8"))
        kept = {attack: use for attack, use in board["attacks"].items() if attack in QUICK}
        small[name] = tmp_path / "boards" / name / "board.yaml"
        small[name].parent.mkdir()
        for beside in ("results", "sweep.yaml"):
            if (path.parent / beside).exists():
                (small[name].parent / beside).symlink_to(path.parent / beside)
        small[name].write_text(yaml.safe_dump(board | {"attacks": kept}, sort_keys=False), encoding="utf-8")
    monkeypatch.setattr(boards, "bundled", lambda: small)
    assert [attack.name for attack in load_board(boards.find_board("fashion-quick")).attacks] == list(QUICK)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.syspath_prepend(tmp_path / "page")
    (tmp_path / "page").mkdir()
    for folder in ("benchmarks", "examples"):  # pages may name files of the checkout
        (tmp_path / "page" / folder).symlink_to(ROOT / folder)
    monkeypatch.chdir(tmp_path / "page")
    return tmp_path / "page"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_blocks_of_a_page_run(page: Path, tiny: Path) -> None:
    """Runs the blocks in order in one folder and one namespace, as a reader would."""
    names: dict[str, Any] = {"__name__": "__docs__"}
    for block in blocks(page):
        try:
            do(block, names)
        except (Exception, SystemExit) as error:
            raise AssertionError(f"{block.place}: {type(error).__name__}: {error}\n{block.text}") from error


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_within_sentences_are_valid(page: Path, tiny: Path) -> None:
    for name in {block.file for block in blocks(page)} - {""}:
        Path(name).write_text(next(block.text for block in blocks(page) if block.file == name), encoding="utf-8")
    for words in sentences(page):
        try:
            shell.check(words, run=False)
        except (Exception, SystemExit) as error:
            raise AssertionError(f"{page.name}: {' '.join(words)}: {type(error).__name__}: {error}") from error


def do(block: Block, names: dict[str, Any]) -> None:
    assert block.language in (*CHECKED, *SHOWN), f"no rule for {block.language!r}"
    if block.file:
        Path(block.file).write_text(block.text, encoding="utf-8")
    if block.language == "sh":
        for words in block.commands:
            shell.check(words, run=not block.why)
    elif block.language == "python":
        code = compile(block.text, block.place, "exec", dont_inherit=True, flags=0)
        if not block.why:
            exec(code, names)
    elif block.language == "yaml" and block.file and (sweep := sweep_file(block.file)):
        read_sweep(sweep)
    elif block.language == "yaml" and block.file:
        load_board(Path(block.file))
    elif block.language == "yaml":
        yaml.safe_load(block.text)
    elif block.language == "toml":
        tomllib.loads(block.text)


def test_most_commands_are_run_and_all_pages_are_read() -> None:
    every = [block for page in PAGES for block in blocks(page) if block.language in ("sh", "python")]
    marked = [block for block in every if block.why]
    assert len(every) > 20
    assert len(marked) <= MOST_MARKED * len(every), [block.place for block in marked]
    assert all(len(block.why.split()) >= 2 for block in marked)
    assert {page.name for page in PAGES} >= {"README.md", "tutorial.md", "python.md"}


@pytest.mark.parametrize(
    "command",
    [
        "purebench run fashion-quick --imges 3",
        "purebench run fashion-quik",
        "purebench run fashion-quick -d vea",
        "purebench run fashion-quick --images many",
        "purebench run fashion-quick -d 'vae(weights=fashion-vae, typo='",
        "purebench lst",
        "purebench new defence x",
        "purebench train fashion-hvea",
        "purebench list defences",
        "python benchmarks/attacks.py strenght",
        "python benchmarks/statistical.py --prt coverage",
        "make leaderbord",
        "pip install 'purebench[nothing]'",
        "python -m pytest --robustnes-boards=x",
        "mkdocs biuld",
        "perl script.pl",
        "purebench sweep fashion-quick -d 'blr(sigma={1, 2})'",
        "purebench sweep fashion-quick -d 'gaussian-blur(sigma=1)' --famly x",
        "purebench sweep fashion-families --family nois",
        "purebench train NAME --minuts M",
        "purebench trian NAME",
    ],
)
def test_a_wrong_command_is_found(command: str, tiny: Path) -> None:
    """Shows that the tests above find wrong commands: each of these has one fault and is only parsed."""
    (words,) = Block(ROOT / "README.md", 1, "sh", command + "\n", "not to be run").commands
    with pytest.raises((Exception, SystemExit)) as caught:
        shell.check(words, run=False)
    known = {"PurebenchError", "AssertionError", "SystemExit", "CalledProcessError", "ClickException"}
    assert known & {kind.__name__ for kind in type(caught.value).__mro__}, caught.value


def test_blocks_are_found_with_their_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "a\n```sh\nls  # all\nb \\\n  c\n```\n<!-- parsed only: too long -->\n```python\n# f.py\nx = 1\n```\n",
        encoding="utf-8",
    )
    first, second = blocks(page)
    assert (first.line, first.commands, first.why, first.file) == (2, [["ls"], ["b", "c"]], "", "")
    assert (second.language, second.why, second.file) == ("python", "too long", "f.py")
    assert ast.parse(second.text)
