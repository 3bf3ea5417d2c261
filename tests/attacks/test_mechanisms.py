"""Tests the mechanisms of attacks and views, which the grade and the warnings of gradient masking use."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from purebench.attacks import mechanisms
from purebench.attacks.adaptive.diffhammer import DiffHammer
from purebench.attacks.adaptive.sequence import USUAL
from purebench.attacks.catalogue import find
from purebench.attacks.libraries.autoattack import EOT
from purebench.attacks.mechanisms import VIEWS, Mechanism, Part, listed, mechanism, parts_of
from purebench.core.errors import PurebenchError
from purebench.core.registry import Spec, installed
from purebench.core.threat import Knowledge

GRADIENT, SUBSTITUTE, FREE = Mechanism.GRADIENT, Mechanism.SUBSTITUTE, Mechanism.GRADIENT_FREE


def of(use: str, gradient: str = "none", backwards: int = 5) -> Mechanism | None:
    return mechanism(Part(Spec.parse(use), Spec.parse(gradient), 1), backwards)


def test_every_view_of_purebench_has_a_mechanism() -> None:
    assert set(VIEWS) == {name for name, point in installed("views").items() if point.value.startswith("purebench.")}


def test_every_attack_of_purebench_states_what_it_uses() -> None:
    families = {"art", "foolbox", "autoattack"}  # their attacks are in the catalogue
    own = {name for name, point in installed("attacks").items() if point.value.startswith("purebench.")} - families
    assert {name for name in own if mechanisms._knowledge(name) is None} == set()


@pytest.mark.parametrize(
    ("use", "gradient", "found"),
    [
        ("apgd", "exact", GRADIENT),
        ("apgd", "exact-or-bpda", GRADIENT),
        ("apgd", "bpda", GRADIENT),
        ("apgd", "smoothed(through=bpda)", GRADIENT),
        ("apgd", "blind", SUBSTITUTE),
        ("apgd", "surrogate(steps=2)", SUBSTITUTE),
        ("apgd", "stand-in(classifier=fashion-resnet)", SUBSTITUTE),
        ("apgd", "inner(module=classifier.model)", SUBSTITUTE),
        ("apgd", "estimated(samples=4)", FREE),
        ("square", "none", FREE),
        ("square", "exact", FREE),
        ("square", "blind", SUBSTITUTE),  # the scores of another model
        ("foolbox:LinfPGD(steps=20)", "exact", GRADIENT),
        ("foolbox:LinfAdditiveUniformNoiseAttack", "exact", None),
        ("art:HopSkipJump", "none", FREE),
        ("autoattack:standard", "exact", GRADIENT),
        ("random-noise", "none", None),
        ("random-noise", "exact", None),
        ("known-truth", "none", None),
        ("certify", "none", None),
        ("clean", "none", None),
        ("apgd", "not-installed", None),
        ("foolbox:NoSuchAttack", "none", None),
        ("sequence", "exact", None),  # inside of another sequence
    ],
)
def test_the_mechanism_is_that_of_what_the_attack_uses_and_of_its_view(
    use: str, gradient: str, found: Mechanism | None
) -> None:
    assert of(use, gradient) is found


def test_an_attack_that_declares_nothing_counts_by_its_view_if_it_computed_gradients() -> None:
    assert of("mine.py:attack", "exact", backwards=5) is GRADIENT
    assert of("mine.py:attack", "stand-in", backwards=5) is SUBSTITUTE
    assert of("mine.py:attack", "exact", backwards=0) is None
    assert of("mine.py:attack", "none", backwards=0) is None
    assert of("mine.py:attack", "estimated", backwards=5) is None


def test_a_sequence_has_the_parts_of_its_parameters_or_of_its_default() -> None:
    plain = [
        {"use": "apgd(steps=5)", "gradient": "stand-in(model=trades)", "eot": 3},
        {"use": "square", "start": "found"},
        "random-noise",
    ]
    parts = parts_of(Part(Spec("sequence", {"parts": plain}), Spec("none"), 1))
    assert [mechanism(part, 5) for part in parts] == [SUBSTITUTE, FREE, None]
    assert [part.eot for part in parts] == [3, 1, 1]
    usual = [mechanism(part, 5) for part in parts_of(Part(Spec("sequence", {"parts": list(USUAL)}), Spec("none"), 1))]
    assert [mechanism(part, 5) for part in parts_of(Part(Spec("sequence"), Spec("none"), 1))] == usual


@pytest.mark.parametrize("parts", [7, [7], [{"gradient": "exact"}], [{"use": "apgd", "eot": "many"}]])
def test_invalid_parts_of_a_result_have_no_mechanism(parts: Any) -> None:
    assert parts_of(Part(Spec("sequence", {"parts": parts}), Spec("none"), 1)) == []


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Installs views of another package: one that declares its mechanism, an invalid one, and one without."""
    (tmp_path / "other_views.py").write_text(
        "from purebench.attacks.mechanisms import listed\n\n\n"
        '@listed(mechanism="gradient")\ndef declared(defense, *, eot=1):\n    ...\n\n\n'
        '@listed(mechanism="magic")\ndef unknown(defense, *, eot=1):\n    ...\n\n\n'
        "def silent(defense, *, eot=1):\n    ...\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    names = ("declared", "unknown", "silent")
    points = {name: EntryPoint(name, f"other_views:{name}", "purebench.views") for name in names}
    monkeypatch.setattr(mechanisms, "installed", lambda group: points if group == "views" else installed(group))
    mechanisms._of_view.cache_clear()
    yield
    mechanisms._of_view.cache_clear()


def test_a_view_of_another_package_has_the_mechanism_that_it_declares_and_else_none(plugin: None) -> None:
    assert of("apgd", "declared") is GRADIENT
    assert of("apgd", "unknown") is None
    assert of("apgd", "silent") is None


@pytest.mark.parametrize("use", mechanisms.COMPOSITE)
@pytest.mark.parametrize(("view", "found"), [("exact", [GRADIENT, FREE]), ("blind", [SUBSTITUTE] * 2)])
def test_autoattack_follows_gradients_and_then_runs_square(use: str, view: str, found: list[Mechanism]) -> None:
    whole = Part(Spec(use), Spec.parse(view), 1)
    assert [mechanism(part, 5) for part in parts_of(whole)] == found
    sequence = Spec("sequence", {"parts": [{"use": use, "gradient": view}, {"use": "apgd", "gradient": "bpda"}]})
    inner = parts_of(Part(sequence, Spec("none"), 1))
    assert [mechanism(part, 5) for part in inner] == [*found, GRADIENT]


def test_the_composites_are_white_box_attacks_of_libraries_that_contain_square() -> None:
    whole = {name: find(*name.split(":")) for name in mechanisms.COMPOSITE}
    assert {entry.knowledge for entry in whole.values()} == {Knowledge.WHITE_BOX}
    assert "square" in whole["autoattack:standard"].note
    assert "Square" in whole["art:AutoAttack"].note


@pytest.mark.parametrize(
    ("use", "eot", "draws"),
    [
        ("apgd", 4, 4),
        ("diffhammer", 1, DiffHammer().draws),
        ("diffhammer(draws=3)", 10, 3),
        ("diffhammer(draws=many)", 1, DiffHammer().draws),
        ("autoattack:rand", 1, EOT),
        ("autoattack:rand(eot=5)", 2, 10),
        ("autoattack:apgd-t", 2, 2 * EOT),
    ],
)
def test_the_draws_that_a_gradient_averages_are_those_of_the_attack(use: str, eot: int, draws: int) -> None:
    assert Part(Spec.parse(use), Spec("exact"), eot).draws == draws


def test_an_unknown_mechanism_is_refused() -> None:
    with pytest.raises(PurebenchError, match="listed: mechanism='gradients' is unknown"):
        listed(mechanism="gradients")
