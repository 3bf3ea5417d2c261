"""Tests of the registry: names, parameters, local files, and errors that suggest the nearest name."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from purebench.cli.output.summaries import summary
from purebench.core import registry
from purebench.core.errors import PurebenchError
from purebench.core.registry import Spec


@pytest.mark.parametrize(
    ("value", "name", "params"),
    [
        ("apgd", "apgd", {}),
        ("apgd()", "apgd", {}),
        ("apgd(steps=20, loss=ce)", "apgd", {"steps": 20, "loss": "ce"}),
        (
            "x.py:thing(a=[1, 2.5], b='two words', c=None, d=True)",
            "x.py:thing",
            {"a": [1, 2.5], "b": "two words", "c": None, "d": True},
        ),
        ({"apgd": {"steps": 20}}, "apgd", {"steps": 20}),
        ({"apgd": None}, "apgd", {}),
        ("foolbox:LinfPGD(steps=3)", "foolbox:LinfPGD", {"steps": 3}),
    ],
)
def test_specs_are_parsed_and_written_back(value: object, name: str, params: dict[str, object]) -> None:
    spec = Spec.parse(value)
    assert (spec.name, dict(spec.params)) == (name, params)
    assert Spec.parse(spec.plain()) == spec
    assert Spec.parse(str(spec)) == spec


@pytest.mark.parametrize(
    "value",
    ["", "a b", "apgd(20)", "apgd(steps=)", "apgd(steps=f())", "apgd(**x)", 3, [], {}, {"a": 1}, {"a": {}, "b": {}}],
)
def test_invalid_specs_are_rejected(value: object) -> None:
    with pytest.raises(PurebenchError, match="expected"):
        Spec.parse(value)


def test_errors_for_unknown_names_and_parameters_suggest_the_nearest() -> None:
    with pytest.raises(PurebenchError, match="'square'"):
        registry.create("attacks", Spec("squar"))
    with pytest.raises(PurebenchError, match="'steps'"):
        registry.create("attacks", Spec("apgd", {"step_s": 3}))
    with pytest.raises(PurebenchError, match=r"'folder'.*missing"):
        registry.create("datasets", Spec("image-folder", {"size": 3}))


def test_an_invalid_parameter_value_is_rejected() -> None:
    with pytest.raises(PurebenchError, match="steps"):
        registry.create("attacks", Spec("apgd", {"steps": "many"}))


def test_local_factories_are_registered_by_decorator() -> None:
    @registry.register("defenses", "mine-test")
    def mine(*, strength: int = 1) -> int:
        return strength

    try:
        assert registry.create("defenses", Spec.parse("mine-test(strength=4)")) == 4
        assert "mine-test" in registry.names("defenses")
    finally:
        del registry.LOCAL["defenses"]["mine-test"]
    with pytest.raises(PurebenchError, match="group"):
        registry.register("defence", "x")


def test_a_changed_file_is_loaded_again(tmp_path: Path) -> None:
    file = tmp_path / "local.py"
    file.write_text("def thing(*, a=1):\n    return a + 1\n", encoding="utf-8")
    spec = Spec.parse(f"{file}:thing(a=2)")
    assert registry.create("defenses", spec) == 3
    file.write_text("def thing(*, a=1):\n    return a + 2\n", encoding="utf-8")
    assert registry.create("defenses", spec) == 4
    with pytest.raises(PurebenchError, match="thing"):
        registry.create("defenses", Spec(f"{file}:thin"))
    with pytest.raises(PurebenchError, match="does not exist"):
        registry.create("defenses", Spec(f"{tmp_path}/absent.py:x"))
    broken = tmp_path / "broken.py"
    broken.write_text("import nothing_of_the_kind\n", encoding="utf-8")
    with pytest.raises(PurebenchError, match="nothing_of_the_kind"):
        registry.create("defenses", Spec(f"{broken}:x"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("def thing(): pass", "expected the created object, but the factory returned None; add a `return`"),
        ("def thing(): raise SystemExit('bye')", "cannot be made from .*SystemExit: bye"),
        ("thing = 3", "expected a class or a function that returns one of the defenses, but thing is 3"),
    ],
    ids=["no return", "exit", "number"],
)
def test_a_file_with_an_invalid_factory_is_rejected(tmp_path: Path, line: str, message: str) -> None:
    file = tmp_path / "local.py"
    file.write_text(line + "\n", encoding="utf-8")
    with pytest.raises(PurebenchError, match=message):
        registry.create("defenses", Spec(f"{file}:thing"))


TYPED = """
from dataclasses import dataclass

def made(size: int = 3, share: float = 0.5, on: bool = True, name: str = "a", many=None):
    return size, share, on, name

class Made:
    def __init__(self, size: int):
        self.size = size

@dataclass
class Fields:
    size: int = 3
"""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("made(size=2.5)", "size: expected a whole number, but got 2.5"),
        ("made(size=x)", "size: expected a whole number, but got 'x'"),
        ("made(share=x)", "share: expected a number, but got 'x'"),
        ("made(on=1)", "on: expected true or false, but got 1"),
        ("made(name=3)", "name: expected text, but got 3"),
        ("Made(size='x')", "size: expected a whole number, but got 'x'"),
        ("Fields(size='x')", "size: expected a whole number, but got 'x'"),
    ],
)
def test_the_arguments_of_a_factory_in_a_file_are_checked_by_its_annotations(
    tmp_path: Path, text: str, message: str
) -> None:
    file = tmp_path / "local.py"
    file.write_text(TYPED, encoding="utf-8")
    with pytest.raises(PurebenchError, match=re.escape(message)):
        registry.create("defenses", Spec.parse(f"{file}:{text}"))
    assert registry.create("defenses", Spec.parse(f"{file}:made(size=2, share=1, on=false, name=b, many=[1])"))[0] == 2


def test_context_is_passed_only_to_factories_that_accept_it() -> None:
    registry.LOCAL["defenses"] |= {"takes": lambda *, classifier: classifier, "takes-not": lambda: "alone"}
    try:
        assert registry.create("defenses", Spec("takes"), classifier="c") == "c"
        assert registry.create("defenses", Spec("takes-not"), classifier="c") == "alone"
    finally:
        del registry.LOCAL["defenses"]["takes"], registry.LOCAL["defenses"]["takes-not"]


@pytest.mark.parametrize("group", registry.GROUPS)
def test_every_entry_point_loads_and_has_a_summary(group: str) -> None:
    for name, point in registry.installed(group).items():
        assert callable(point.load()), name
        assert len(summary(point)) > 10, name


def test_listing_does_not_import_torch() -> None:
    import subprocess

    code = (
        "import sys; from purebench.cli.listing import print_names; print_names(None); sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "fashion-quick" in done.stdout
    assert "mlvgm-hvae" in done.stdout


@pytest.mark.parametrize(
    ("text", "params"),
    [
        ("apgd(loss=ce-scaled, steps=20)", {"loss": "ce-scaled", "steps": 20}),
        ("pgd(random=false)", {"random": False}),
        (
            "a(b=[cw, ce-scaled, 3], c=[], d=[[off], 'off'])",
            {"b": ["cw", "ce-scaled", 3], "c": [], "d": [[False], "off"]},
        ),
        ("pgd(random=True, step=-1)", {"random": True, "step": -1}),
        ("a(b=off, c=null, d=none, e='false')", {"b": False, "c": None, "d": "none", "e": "false"}),
    ],
)
def test_bare_words_are_parsed_as_in_yaml(text: str, params: dict[str, object]) -> None:
    assert Spec.parse(text).params == params


@pytest.mark.parametrize("text", ["pgd(step=16/255)", "pgd(step=[16/255])", "pgd(step=a b)", "pgd(step=f(1))"])
def test_values_that_are_neither_literals_nor_words_are_rejected(text: str) -> None:
    with pytest.raises(PurebenchError, match="expected key=value arguments"):
        Spec.parse(text)


def test_numbers_without_a_json_form_are_rejected() -> None:
    with pytest.raises(PurebenchError, match="expected numbers, words and lists"):
        Spec.parse({"pgd": {"step": float("inf")}})


def test_the_error_for_a_file_without_a_name_shows_the_expected_form() -> None:
    with pytest.raises(PurebenchError, match=r"path/to/file\.py:name"):
        registry.factory("defenses", "mine.py")
