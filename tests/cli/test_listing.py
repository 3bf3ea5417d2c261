"""Tests of `purebench list` and descriptions of names, in a terminal and through a pipe."""

import inspect
import io
import os
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from rich.console import Console

from purebench.attacks.catalogue import LIBRARIES
from purebench.attacks.entry import native
from purebench.attacks.gradient.losses import LOSSES
from purebench.boards.bundled import bundled
from purebench.cli import describe as describing
from purebench.cli import listing
from purebench.cli.listing import LEAST, in_rows, print_attacks, print_names
from purebench.cli.output import summaries
from purebench.core import registry
from purebench.core.errors import PurebenchError


def printed(width: int) -> str:
    console = Console(width=width, file=io.StringIO())
    print_attacks(console)
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def test_every_attack_is_listed_with_its_properties() -> None:
    lines = [line.split() for line in printed(listing.PIPED).splitlines()]
    rows = {words[0]: words[1:] for words in lines if words}
    for entries in LIBRARIES.values():
        for entry in entries.values():
            if entry.left_out:
                assert any(f"{entry.name}," in words or words[-1:] == [entry.name] for words in lines)
                continue
            words = rows[entry.name]
            norms = ["any"] if entry.own else list(entry.norms)
            assert words[: len(norms) + 1] == [*norms, str(entry.knowledge)]
            assert ("∇" in words) == entry.gradients
            assert ("bounded" if entry.bounded else "min-norm") in words
    for name, entry in native().items():
        row = [name, *entry.norms, str(entry.knowledge)]  # a library may have an attack of the same name
        assert any(words[: len(row)] == row for words in lines)


@pytest.mark.parametrize("width", [80, 100, 120])
def test_no_name_is_truncated(width: int) -> None:
    output = printed(width)
    assert "…" not in output.replace("contrast …", "")
    assert max(len(line) for line in output.splitlines()) <= width
    for entries in LIBRARIES.values():
        for name in entries:
            assert name in output or all(part in output for part in in_rows(name, LEAST).split("\n  "))


@pytest.mark.parametrize("longest", [20, 39])
def test_long_names_are_wrapped_at_capital_letters(longest: int) -> None:
    for name in ("L2ClippingAwareRepeatedAdditiveUniformNoiseAttack", "A" + "b" * 10 + "C" + "d" * 17 + "E" * 18):
        rows = in_rows(name, longest).split("\n")
        assert "".join(row.strip() for row in rows) == name
        assert all(row.strip()[0].isupper() for row in rows)
        assert max(map(len, rows)) <= longest
    assert in_rows("LinfPGD", longest) == "LinfPGD"


def test_an_attack_of_another_package_is_listed_with_its_docstring(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("theirs", "purebench.core.errors:PurebenchError", "purebench.attacks")
    monkeypatch.setattr(registry, "installed", lambda group: {"theirs": point})
    row = next(line.split() for line in printed(100).splitlines() if line.split()[:1] == ["theirs"])
    assert row[1:4] == ["?", "?", "?"]
    assert "Invalid input." in " ".join(row)


def test_a_described_attack_of_another_package_is_listed_with_its_properties(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = """from purebench.attacks import listed


@listed(
    "random pixels (salt)",
    norms="linf l2",
    sees="none",
    bounded=True,
)
@print
def salt():
    pass
"""
    (tmp_path / "salted.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    point = EntryPoint("salt", "salted:salt", "purebench.attacks")
    monkeypatch.setattr(registry, "installed", lambda group: {"salt": point})
    row = next(line.split() for line in printed(100).splitlines() if line.split()[:1] == ["salt"])
    assert row[1:] == ["linf", "l2", "none", "bounded", "random", "pixels", "(salt)"]
    assert "salted" not in sys.modules


def test_output_to_a_pipe_has_one_line_per_attack(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    print_names("attacks")
    lines = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.strip()]
    for entries in LIBRARIES.values():
        for entry in entries.values():
            assert entry.left_out or entry.name in lines


def test_listing_attacks_does_not_import_torch() -> None:
    code = "import sys, purebench.cli.listing as a; a.print_names('attacks'); sys.exit('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "COLUMNS": "100"}
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "art:NAME" in done.stdout


def described(monkeypatch: pytest.MonkeyPatch, group: str, name: str) -> str:
    console = Console(width=100, file=io.StringIO())
    monkeypatch.setattr(describing, "make_console", lambda: console)
    describing.describe(group, name)
    file = console.file
    assert isinstance(file, io.StringIO)
    return " ".join(file.getvalue().split())


def test_a_description_shows_the_signature_and_the_docstring(monkeypatch: pytest.MonkeyPatch) -> None:
    text = described(monkeypatch, "defenses", "diffpure")
    make, _ = registry.factory("defenses", "diffpure")
    for name, parameter in inspect.signature(make).parameters.items():
        assert f"{name} {parameter.default!r}" in text
    for expected in ("Nie et al. 2022", "arXiv:2205.07460", "timestep t* in 1..1000", "licence MIT"):
        assert expected in text
    assert "[height, width]" in described(monkeypatch, "datasets", "image-folder")  # not interpreted as terminal markup


@pytest.mark.parametrize(
    ("name", "ranges"),
    [
        ("median", ("size 3 [3,1000000]",)),
        ("jpeg", ("quality 50 [1,95]",)),
        ("tv-minimisation", ("weight 0.1 (0,1000000]", "keep 1.0 (0,1]")),
        ("vote", ("draws 8 [2,1000000]",)),
        ("mlvgm-nvae", ("temperature None [0,1000000]",)),
        ("pgd", ("steps 40 [1,1000000]", "step None (0,1000000]", "momentum 0.0 [0,1000000]")),
        ("fmn", ("gamma 0.05 (0,1)", "alpha_last None (0,1000000]")),
        ("certify", ("alpha 0.001 (0,0.5)",)),
        ("mi-fgsm", ("steps 10 [1,1000000]",)),
        ("autoattack:standard", ("n_queries None [1,1000000]",)),
    ],
)
def test_a_description_shows_the_ranges_of_parameters(
    name: str, ranges: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    group = "attacks" if name in native() or ":" in name else "defenses"
    text = described(monkeypatch, group, name)
    assert "parameter default range" in text
    for expected in ranges:
        assert expected in text


def test_a_description_has_no_column_of_ranges_where_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "range" not in described(monkeypatch, "attacks", "foolbox:LinfPGD")


def test_a_board_is_described_by_its_yaml_file(capsys: pytest.CaptureFixture[str]) -> None:
    describing.describe("boards", "fashion-quick")
    assert capsys.readouterr().out == bundled()["fashion-quick"].read_text(encoding="utf-8")


def test_every_registered_name_can_be_described(monkeypatch: pytest.MonkeyPatch) -> None:
    for group in ("defenses", "attacks", "classifiers", "views", "recipes"):
        for name in registry.installed(group):
            assert described(monkeypatch, group, name).startswith(name)


def test_an_unknown_name_gives_the_nearest_known_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PurebenchError, match="did you mean 'diffpure'"):
        described(monkeypatch, "defenses", "difpure")


def test_the_fast_summary_agrees_with_parsing() -> None:
    for group in registry.GROUPS:
        for point in registry.installed(group).values():
            module, _, name = point.value.partition(":")
            parsed = summaries._summaries(summaries._text(module))
            assert summaries.summary(point) == parsed.get(name, parsed.get("", "")), point


@pytest.mark.parametrize(
    "source",
    [
        'def f(a="x:y", b={"k": 1}):\n    """Told."""\n',
        'def f(\n    a: int = 1,\n) -> dict[str, int]:\n    """Told."""\n',
        'def f():\n    return 1\n\n\ndef g():\n    """Not this."""\n',
        'class f:\n    """Told.\n\n    More.\n    """\n',
        'def f():\n    r"""Told."""\n',
        "def f():\n    '''Told.'''\n",
        'def ff():\n    """Not this."""\n\n\ndef f():\n    """Told "here"."""\n',
    ],
)
def test_the_fast_summary_handles_unusual_sources(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "some_module.py").write_text(f'"""Of the module."""\n\n{source}', encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    summaries._text.cache_clear()
    found = summaries.summary(EntryPoint("f", "some_module:f", "purebench.attacks"))
    assert found == summaries._summaries(f'"""Of the module."""\n\n{source}').get("f")


def test_an_attack_is_described_with_its_losses_norms_and_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    text = described(monkeypatch, "attacks", "apgd")
    assert f"loss 'ce' {', '.join(LOSSES)}" in text
    for expected in ("norms linf l2 l1", "sees white-box ∇", "kind bounded"):
        assert expected in text
    assert "kind min-norm" in described(monkeypatch, "attacks", "deepfool")
    assert "norms" in described(monkeypatch, "attacks", "foolbox:LinfPGD")


def test_only_names_with_parameters_are_shown_with_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    assert described(monkeypatch, "views", "bpda").endswith("in a board.yaml: bpda")
    assert "bpda-learned(parameter=value, …)" in described(monkeypatch, "views", "bpda-learned")


def test_a_name_in_place_of_a_group_gives_the_command_that_describes_it() -> None:
    with pytest.raises(PurebenchError, match="vae is a name within a group: purebench list defenses vae"):
        listing.check_group("vae")
