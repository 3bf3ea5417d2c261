"""Tests that the catalogue of attacks agrees with the libraries: complete, without extra entries, and correct."""

import importlib
import importlib.util
import inspect
import subprocess
import sys
from contextlib import nullcontext, suppress
from importlib.metadata import EntryPoint, version
from typing import get_args

import pytest

from purebench.attacks import catalogue
from purebench.attacks.catalogue import ART, AUTOATTACK, FOOLBOX, LIBRARIES, find
from purebench.attacks.entry import entry_of, listed, native
from purebench.attacks.libraries.art import art_classes
from purebench.attacks.libraries.foolbox import foolbox_classes
from purebench.attacks.views.gradient_modes import exact
from purebench.core.answers import Answer, Inapplicable
from purebench.core.errors import PurebenchError
from purebench.core.norms.norm_facts import NORM_NAMES
from purebench.core.registry import Spec, create, installed
from purebench.core.seeds import seeded
from purebench.core.third_party import autoattack
from purebench.core.threat import Knowledge, ThreatModel

NATIVE = native()
INVALID = {
    "norm": '"", norms="linv", sees="none", bounded=True',
    "name": '"", sees=NONE, bounded=True',
    "extra": '"", sees="none", bounded=True, more=1',
    "few": '""',
}
ENTRIES = [entry for entries in (NATIVE, *LIBRARIES.values()) for entry in entries.values()]


def test_the_catalogue_has_exactly_the_evasion_attacks_of_art():
    """ART omits attacks that need numba if numba is not installed."""
    absent = {"BrendelBethgeAttack"} if importlib.util.find_spec("numba") is None else set()
    assert version("adversarial-robustness-toolbox").startswith("1.20")
    assert ART.keys() - absent == art_classes().keys()


def test_the_catalogue_has_exactly_the_attacks_and_aliases_of_foolbox():
    assert version("foolbox").startswith("3.3.")
    classes = foolbox_classes()
    assert {name for entry in FOOLBOX.values() for name in (entry.name, *entry.aliases)} == classes.keys()
    for entry in FOOLBOX.values():
        for name in (entry.name, *entry.aliases):
            assert classes[name].__name__ == entry.name


def test_the_catalogue_has_exactly_the_versions_and_parts_of_autoattack():
    package = importlib.import_module(f"{autoattack().__name__}.autoattack")
    parts = set(get_args(package.AttackName))
    assert {"standard", "plus", "rand"} | parts == AUTOATTACK.keys()
    whole = {
        name: package.AutoAttack(len, eps=1.0, version=name).attacks_to_run for name in ("standard", "plus", "rand")
    }
    assert set(whole["plus"]) == parts
    for name, run in whole.items():
        assert all(part in AUTOATTACK[name].note or name == "plus" for part in run)


def test_the_catalogue_has_exactly_the_native_attacks():
    points = {name for name, point in installed("attacks").items() if point.dist and point.dist.name == "purebench"}
    assert points - LIBRARIES.keys() == NATIVE.keys()


def test_an_invalid_description_is_rejected_on_import_and_not_listed(tmp_path, monkeypatch):
    with pytest.raises(PurebenchError, match="norm 'linv' is unknown; did you mean 'linf'"):
        listed("", norms="linv", sees="none", bounded=True)
    with pytest.raises(PurebenchError, match="sees='scores' is unknown; did you mean 'score'"):
        listed("", sees="scores", bounded=True)
    source = "".join(f"@listed({given})\ndef {name}():\n    pass\n\n\n" for name, given in INVALID.items())
    (tmp_path / "wrong.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    assert not any(entry_of(EntryPoint(name, f"wrong:{name}", "purebench.attacks")) for name in INVALID)


@pytest.mark.parametrize("norm", NORM_NAMES)
@pytest.mark.parametrize("name", sorted(set(NATIVE) - {"transfer"}))  # needs source images
def test_native_attacks_run_under_their_listed_norms_and_reject_others(small, name, norm):
    case, entry = small(images=3), NATIVE[name]
    attack = create("attacks", Spec(name))
    # attacks that need a purifier raise Inapplicable under their norms
    expectation = nullcontext() if norm in entry.norms else pytest.raises(PurebenchError, match=norm)
    with expectation, suppress(Inapplicable), seeded("norms", name, norm):
        found = attack(exact(case.defense), case.x, case.y, ThreatModel(norm, 0.05))
        assert entry.bounded is not (isinstance(found, Answer) and found.nearest)
    assert attack.knowledge is entry.knowledge


@pytest.mark.parametrize("name", sorted(FOOLBOX))
def test_foolbox_entries_agree_with_the_classes(name):
    from foolbox.attacks.base import AttackWithDistance, FixedEpsilonAttack, FlexibleDistanceMinimizationAttack
    from foolbox.distances import LpDistance

    entry, kind = FOOLBOX[name], foolbox_classes()[name]
    if entry.left_out:
        return
    assert entry.bounded == issubclass(kind, FixedEpsilonAttack)
    measured = vars(kind).get("distance") or next(
        (vars(base)["distance"] for base in kind.__mro__ if "distance" in vars(base)), None
    )
    if (
        isinstance(measured, LpDistance) and name != "HopSkipJumpAttack"
    ):  # its class says l1, its instance the requested norm
        named = {0: NORM_NAMES, 1: ("l1",), 2: ("l2",), float("inf"): ("linf",)}[measured.p]
        assert set(entry.norms) == set(named)
        assert entry.own == (measured.p == 0)
    elif issubclass(kind, FlexibleDistanceMinimizationAttack):
        assert len(entry.norms) > 1
    elif not issubclass(kind, AttackWithDistance):
        assert entry.own


@pytest.mark.parametrize("name", sorted(name for name, entry in ART.items() if not entry.left_out and not entry.needs))
def test_art_entries_agree_with_the_classes(name):
    entry, takes = ART[name], inspect.signature(art_classes()[name]).parameters
    if name == "Wasserstein":  # its norm and eps are those of another ball
        assert entry.own
        return
    assert entry.bounded == ("eps" in takes or ("delta" in takes and name.startswith("FeatureAdversaries")))
    if len(entry.norms) > 1 and not entry.own:
        assert "norm" in takes
    if entry.own:
        assert not {"norm", "eps"} & takes.keys()


def test_every_entry_is_complete():
    for entry in ENTRIES:
        if entry.left_out:
            assert (entry.norms, entry.knowledge, entry.note) == ((), Knowledge.NONE, "")
        else:
            assert set(entry.norms) <= set(NORM_NAMES)
            assert entry.norms
            assert entry.gradients == (entry.knowledge is Knowledge.WHITE_BOX)
            assert not (entry.own and entry.bounded)
        assert len(entry.note) < 80


def test_importing_the_catalogue_imports_no_library():
    code = f"import sys, {catalogue.__name__}; print({{'torch', 'numpy', 'art', 'foolbox'}} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_find_accepts_aliases_and_errors_suggest_a_name_or_give_the_reason():
    assert find("foolbox", "PGD") is find("foolbox", "LinfProjectedGradientDescentAttack")
    with pytest.raises(PurebenchError, match="did you mean 'HopSkipJump'"):
        find("art", "HopSkipJmp")
    with pytest.raises(PurebenchError, match="is not supported, because it attacks decision trees"):
        find("art", "DecisionTreeAttack")
    with pytest.raises(PurebenchError) as error:
        find("art", "DecisionTree")
    assert "DecisionTreeAttack" not in str(error.value)
