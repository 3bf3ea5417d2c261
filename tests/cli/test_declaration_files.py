"""Tests of reading declarations of defenses, of this and of other packages, and of listing them."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from rich.console import Console

from purebench.cli import declaration
from purebench.cli.declaration import VARIES, Declaration, declared, of_source, own, read
from purebench.cli.listing import facts, print_defenses
from purebench.core import registry
from purebench.core.errors import PurebenchError
from purebench.core.source import decorator_arguments

OURS = own()
LINE = "{random: true, gradient: exact, surrogate: identity, forwards: 2, licence: MIT, source: control}"


def test_declarations_are_read_with_times_from_the_cost_table() -> None:
    both = read(f"a: {LINE}\nb: {LINE[:-1]}, ms: 3, passes: varies}}", {"a": 1.5, "b": 7.0})
    assert both["a"] == Declaration(
        random=True, gradient="exact", surrogate="identity", forwards=2, ms=1.5, licence="MIT", source="control"
    )
    assert (both["b"].ms, both["b"].passes) == (3, VARIES)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: {randm: true}", "a: the key 'randm' is unknown; did you mean 'random'?"),
        (f"a: {LINE.replace('random: true, ', '')}", "a: expected the key 'random', but it is missing"),
        (f"a: {LINE.replace('true', '1')}", "a: random: expected true, false (or varies), but got 1"),
        (f"a: {LINE.replace('exact', 'yes')}", "a: gradient: True is unknown; known: exact, none, varies, zero"),
        (f"a: {LINE.replace('2', '-2')}", "a: forwards: expected a whole number (or varies), but got -2"),
        (f"a: {LINE.replace('2', 'true')}", "a: forwards: expected a whole number"),
        (f"a: {LINE.replace('2', '2, ms: 0')}", "a: ms: expected milliseconds above 0 (or varies), but got 0"),
        (f"a: {LINE.replace('MIT', '~')}", "a: licence: expected words (or varies), but got None"),
        (
            "a: 3",
            "a: expected a mapping with forwards, gradient, licence, ms, passes, random, source, surrogate, but got 3",
        ),
        ("[1]", "expected a mapping of defenses"),
        ("a: {", "expected YAML"),
        (f"a: {LINE}\na: {LINE}", "line 2: expected each key once, but got 'a' again"),
    ],
)
def test_invalid_declarations_are_rejected_with_the_reason(text: str, message: str) -> None:
    with pytest.raises(PurebenchError, match=re.escape(message)):
        read(text)


@pytest.fixture
def theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another package, which raises on import, with a defense; returns the path of its declarations file."""
    package = tmp_path / "their_package"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    installed = registry.installed
    owner = type("Distribution", (), {"name": "their-package"})()

    def point(name: str, value: str, group: str) -> EntryPoint:
        made = EntryPoint(name, value, group)
        vars(made)["dist"] = owner
        return made

    extra = {
        "defenses": {"theirs": point("theirs", "their_package:theirs", "purebench.defenses")},
        "declarations": {"their": point("their", "their_package:defenses.yaml", "purebench.declarations")},
    }
    monkeypatch.setattr(registry, "installed", lambda group: installed(group) | extra.get(group, {}))
    return package / "defenses.yaml"


def shown(width: int) -> str:
    file = io.StringIO()
    print_defenses(Console(width=width, file=file))
    return file.getvalue()


def row(name: str, output: str) -> list[str]:
    return next(line.split() for line in output.splitlines() if line.split()[:1] == [name])


def test_another_package_declares_its_defenses_without_being_imported(theirs: Path) -> None:
    theirs.write_text(f"theirs: {LINE}\nvae: {LINE}", encoding="utf-8")
    (theirs.parent / "costs.json").write_text('{"ms": {"theirs": 12.5}}', encoding="utf-8")
    found, faults = declared()
    assert (found["theirs"].forwards, found["theirs"].ms, faults) == (2, 12.5, [])
    assert found["vae"] == OURS["vae"], "another package must not change declarations of this one"
    words = row("theirs", shown(160))
    assert words[1:9] == ["yes", "exact", "identity", "2", "+", "1", "12.5", "MIT"]
    assert "their-package" in " ".join(words)


@pytest.mark.parametrize("text", [None, "theirs: {randm: true}", "theirs: ["])
def test_defenses_without_a_valid_declaration_are_listed_with_question_marks(theirs: Path, text: str | None) -> None:
    if text is not None:
        theirs.write_text(text, encoding="utf-8")
    output = shown(160)
    assert row("theirs", output)[1:7] == ["?"] * 6
    assert "a declaration is ignored" in output
    assert "defenses.yaml" in " ".join(output.split())
    assert row("vae", output)[2:4] == ["exact", "identity"]


@pytest.mark.parametrize("width", [80, 120, 160])
def test_the_list_shows_every_defense_with_all_its_facts(width: int) -> None:
    output = shown(width)
    assert max(len(line) for line in output.splitlines()) <= width
    assert "…" not in output
    for name, one in OURS.items():
        words = row(name, output[output.index("licence") :])
        random = one.random if one.random == VARIES else "yes" if one.random else "no"
        rest = " ".join(words[1:])
        assert rest.startswith(f"{random} {one.gradient} {one.surrogate} ")
        assert "?" not in words[:7]
        number = one.source.rpartition(" ")[2]
        assert number in re.sub(r"\s+", " ", output)


def test_listing_defenses_does_not_import_torch() -> None:
    code = "import sys, purebench.cli.listing as a; a.print_names('defenses'); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "diffpure" in done.stdout
    assert declaration.__name__ not in done.stdout


def declared_above(source: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Declaration | None:
    """Returns the declaration above the function `make` of a module, which raises on import."""
    (folder / "a_defense.py").write_text(f"raise RuntimeError\n\n\n{source}", encoding="utf-8")
    monkeypatch.syspath_prepend(folder)
    decorator_arguments._decorators.cache_clear()
    return of_source(EntryPoint("mine", "a_defense:make", "purebench.defenses"))


FACTS = 'random=True, gradient="exact", surrogate="identity", forwards=2, licence="MIT", source="control"'


@pytest.mark.parametrize("ms", [None, 3.0])
def test_a_defense_is_declared_in_its_own_file_and_its_time_may_be_missing(
    ms: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = f"@listed({FACTS}, ms={ms})\ndef make():\n    pass\n"
    found = declared_above(source, tmp_path, monkeypatch)
    assert found == Declaration(
        random=True, gradient="exact", surrogate="identity", forwards=2, ms=ms, licence="MIT", source="control"
    )
    assert facts(found)[4] == ("?" if ms is None else "3")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (FACTS.replace("random", "randm"), "mine: the key 'randm' is unknown; did you mean 'random'?"),
        (FACTS.replace("True", "chance()"), "mine: malformed node or string"),
        (FACTS.replace("random=True, ", ""), "mine: expected the key 'random', but it is missing"),
        ("3", "mine: expected properties by name, but got listed(3, …)."),
    ],
)
def test_an_invalid_declaration_above_a_defense_is_rejected(
    given: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(PurebenchError, match=re.escape(message)):
        declared_above(f"@listed({given})\ndef make():\n    pass\n", tmp_path, monkeypatch)


def test_a_defense_without_a_declaration_is_not_declared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert declared_above("def make():\n    pass\n", tmp_path, monkeypatch) is None
