"""Tests the alpha schedules against the values in the paper's released configurations."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import yaml

from purebench.core.defense import fingerprint
from purebench.core.errors import PurebenchError
from purebench.defenses.mlvgm import schedules
from purebench.defenses.mlvgm.bundled import hvae
from purebench.defenses.mlvgm.schedules import LEARNED, SCHEDULES, alphas, learned

# Released in configs/*.yaml for 18 (E4E-StyleGAN), 24 (NVAE) and 16 (Style-Transformer) latents. The keys hold the
# number of decimals; the linear list for 18 latents is truncated ('cut'), the others are rounded.
PAPER = {
    ("linear", 18, 2, "cut"): ".05 .11 .16 .22 .27 .33 .38 .44 .50 .55 .61 .66 .72 .77 .83 .88 .94 1.00",
    ("cosine", 18, 3, "rounded"): (
        ".008 .030 .067 .117 .179 .250 .329 .413 .500 .587 .671 .750 .821 .883 .933 .970 .992 1.000"
    ),
    ("linear", 24, 2, "rounded"): (
        ".04 .08 .12 .17 .21 .25 .29 .33 .38 .42 .46 .50 .54 .58 .62 .67 .71 .75 .79 .83 .88 .92 .96 1.00"
    ),
    ("cosine", 24, 2, "rounded"): (
        ".00 .02 .04 .07 .10 .15 .20 .25 .31 .37 .43 .50 .57 .63 .69 .75 .80 .85 .90 .93 .96 .98 1.00 1.00"
    ),
    ("linear", 16, 3, "rounded"): (".062 .125 .188 .250 .312 .375 .438 .500 .562 .625 .688 .750 .812 .875 .938 1.000"),
    ("cosine", 16, 3, "rounded"): (".010 .038 .084 .146 .222 .309 .402 .500 .598 .691 .778 .854 .916 .962 .990 1.000"),
}


@pytest.mark.parametrize(("name", "n", "places", "how"), PAPER)
def test_schedules_match_the_released_values(name, n, places, how):
    released = [float(value) for value in PAPER[name, n, places, how].split()]
    ours = alphas(name, n, 1.0)
    assert len(ours) == len(released) == n
    for value, theirs in zip(ours, released, strict=True):
        if how == "cut":
            assert theirs == math.floor(value * 10**places + 1e-9) / 10**places
        else:
            assert abs(value - theirs) <= 0.5 * 10**-places + 1e-9


@pytest.mark.parametrize("n", [1, 2, 8, 24])
@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_schedules_increase_to_one(name, n):
    values = SCHEDULES[name](n)
    assert values[-1] == pytest.approx(1, abs=1e-12)
    assert all(0 < low < high for low, high in pairwise(values))


def test_cosine_schedule_is_symmetric():
    values = SCHEDULES["cosine"](24)
    assert [1 - value for value in reversed(values[:-1])] == pytest.approx(values[:-1], abs=1e-12)


def test_attenuation_scales_named_schedules_and_lists():
    assert alphas("linear", 4, 0.5) == pytest.approx([0.125, 0.25, 0.375, 0.5])
    assert alphas([0, 0.5, 1], 3, 0.7) == pytest.approx([0, 0.35, 0.7])
    assert alphas("constant", 3, 0.3) == [0.3] * 3
    assert alphas("cosine", 5, 0) == [0.0] * 5


@pytest.mark.parametrize(
    ("schedule", "attenuation", "message"),
    [
        ("cosin", 1, r"'cosin' is unknown; did you mean 'cosine'\?"),
        ([0.1, 0.2], 1, "expected 3 alphas, one a latent, but got 2"),
        ([], 1, "expected 3 alphas, one a latent, but got 0"),
        ([0.1, 0.2, 1.1], 1, r"in \[0,1\], but got"),
        ([0.1, -0.2, 1], 1, r"in \[0,1\], but got"),
        ([0.1, math.nan, 1], 1, r"in \[0,1\], but got"),
        (["a", 0, 1], 1, "expected a name or a list of numbers"),
        ([[0.1], 0, 1], 1, "expected a name or a list of numbers"),
        (0.5, 1, "expected a name or a list of numbers"),
        ("linear", 1.5, r"in \[0,1\], but got .* × 1.5"),
        ([0.1, 0.2, 0.3], 2, r"in \[0,1\], but got .* × 2"),
        ("linear", -0.1, r"in \[0,1\], but got .* × -0.1"),
        ("linear", math.nan, r"in \[0,1\], but got .* × nan"),
    ],
)
def test_invalid_schedules_are_rejected(schedule, attenuation, message):
    with pytest.raises(PurebenchError, match=message):
        alphas(schedule, 3, attenuation)


def test_learned_returns_the_alphas_and_attenuation_of_a_model(tmp_path):
    found = tmp_path / "learned.yaml"
    found.write_text("toy: {alphas: [0, 0.5, 1], attenuation: 0.9, command: none, found: nothing}\n", encoding="utf-8")
    assert learned("toy", found) == ([0, 0.5, 1], 0.9)
    with pytest.raises(PurebenchError, match=r"no list was learned for 'tyo'; did you mean 'toy'.*purebench tune"):
        learned("tyo", found)


@pytest.mark.parametrize("name", yaml.safe_load(LEARNED.read_text(encoding="utf-8")) or ["none"])
def test_shipped_learned_alphas_are_valid_and_state_their_command(name):
    if name == "none":
        with pytest.raises(PurebenchError, match="no list was learned"):
            learned(name)
        return
    entry = yaml.safe_load(LEARNED.read_text(encoding="utf-8"))[name]
    values, attenuation = learned(name)
    assert alphas(values, len(values), attenuation) == pytest.approx([attenuation * value for value in values])
    assert entry["command"].startswith("purebench tune")


def test_learned_list_is_part_of_the_fingerprint_and_a_schedule_name_is_not(tmp_path, monkeypatch):
    """The spec holds the name of a schedule, but not a list read from a file, so the fingerprint must."""
    found = tmp_path / "learned.yaml"
    monkeypatch.setattr(schedules, "LEARNED", found)
    prints = []
    for last in (1, 0.5):
        found.write_text(f"fashion-hvae: {{alphas: {[0.0] * 7 + [last]}, attenuation: 1.0}}\n", encoding="utf-8")
        purifier = hvae(schedule="learned")
        assert purifier.alphas == [0.0] * 7 + [last]
        prints.append(fingerprint(purifier))
    assert prints[0] != prints[1]
    assert hvae(schedule="learned", attenuation=0.5).alphas[-1] == 0.25
    assert set(hvae(schedule="linear").state_dict()) == {
        f"model.{name}" for name in hvae(schedule="linear").model.state_dict()
    }
    assert hvae().alphas == pytest.approx(alphas("cosine", 8, 0.7))
