"""Tests that the peak memory of exact gradients through purifiers hardly grows with the number of steps."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PURIFIERS = [
    *("diffpure", "gradual-noise", "gdmp", "likelihood-maximisation", "diffpure-sde"),
    *("defense-gan", "ebm-langevin"),
]
CLEAR = Path("/proc/self/clear_refs")

MEASURE = """
import json, sys
import torch
from purebench.defenses.diffusion.diffpure import DiffPure
from purebench.defenses.diffusion.gdmp import GDMP
from purebench.defenses.diffusion.gradual import GradualNoise
from purebench.defenses.diffusion.likelihood import LikelihoodMaximisation
from purebench.defenses.diffusion.sde import DiffPureSDE
from purebench.defenses.diffusion.architectures.folded_unet import FoldedUNet
from purebench.defenses.mlvgm.stylegan.small import SmallStyleGAN
from purebench.defenses.gan.defense_gan import DefenseGAN
from purebench.defenses.ebm.langevin import EBMLangevin, Energy
from purebench.defenses.gan.search_spaces import CodeSpace
from purebench.core.defense import as_defense
from purebench.core.seeds import seeded
from purebench.attacks.adaptive.deviated import deviating
from purebench.attacks.gradient.losses import cross_entropy
from purebench.attacks.views.gradient_modes import exact
from purebench.attacks.views.intermediate import intermediate

torch.set_num_threads(1)

def memory(entry):
    for line in open("/proc/self/status"):
        if line.startswith(entry):
            return int(line.split()[1]) * 1024

def gradient(steps, images, checkpointed):
    with seeded("memory"):
        x = torch.rand(images, 1, 16, 16, requires_grad=True)
        purifier, labels = make(steps, checkpointed), torch.zeros(images, dtype=torch.long)
        defense = as_defense(purifier, classifier)
        if sys.argv[4] == "result":
            torch.autograd.grad(purifier(x).square().sum(), x)
        elif sys.argv[4] == "intermediate":
            intermediate(defense).look(x, labels, cross_entropy)
        else:
            with deviating(exact(defense), reference="through") as view:
                view.look(x, labels, cross_entropy)

MAKE = {
    "diffpure": lambda n, kept: DiffPure(network, t=150, steps=n, checkpointed=kept),
    "gradual-noise": lambda n, kept: GradualNoise(network, schedule=(30,) * n, checkpointed=kept),
    "gdmp": lambda n, kept: GDMP(network, t=150, steps=n, rounds=1, checkpointed=kept),
    "likelihood-maximisation": lambda n, kept: LikelihoodMaximisation(network, draws=1, steps=n, checkpointed=kept),
    "diffpure-sde": lambda n, kept: DiffPureSDE(network, steps=n, checkpointed=kept),
    "defense-gan": lambda n, kept: DefenseGAN(space, steps=n, checkpointed=kept),
    "ebm-langevin": lambda n, kept: EBMLangevin(energy, steps=n, rate=0.01, checkpointed=kept),
}
make = MAKE[sys.argv[3]]
network = FoldedUNet(size=16).eval().requires_grad_(False)
gan = SmallStyleGAN(size=16, dim=16, channels={4: 64, 8: 64, 16: 64}).eval().requires_grad_(False)
space = CodeSpace(gan, start="mean")
energy = Energy(size=16, widths=(256, 256)).eval().requires_grad_(False)
classifier = torch.nn.Sequential(
    torch.nn.Conv2d(1, 64, 3, padding=1), torch.nn.SiLU(), torch.nn.Conv2d(64, 64, 3, padding=1), torch.nn.SiLU(),
    torch.nn.Flatten(), torch.nn.Linear(64 * 256, 10),
)
gradient(2, 1, True)  # what libraries allocate once
before = memory("VmRSS")
peaks = []
for steps in json.loads(sys.argv[1]):
    open("/proc/self/clear_refs", "w").write("5")  # the peak starts anew from what is resident
    gradient(steps, 24, json.loads(sys.argv[2]))
    peaks.append(memory("VmHWM") - before)
print(json.dumps(peaks))
"""


def peaks(purifier: str, steps: list[int], checkpointed: bool, of: str = "result") -> list[int]:
    """Return the peak resident bytes of a gradient per number of steps, in excess of a small first gradient."""
    found = subprocess.run(
        [sys.executable, "-c", MEASURE, json.dumps(steps), json.dumps(checkpointed), purifier, of],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(found.stdout)


@pytest.mark.slow
@pytest.mark.skipif(not CLEAR.exists(), reason="the peak of resident memory is reset through /proc")
@pytest.mark.parametrize("purifier", PURIFIERS)
def test_peak_memory_of_100_steps_is_at_most_1_5_times_that_of_10(purifier):
    ten, hundred = peaks(purifier, [10, 100], checkpointed=True)
    assert ten > 4e6, "too little to measure"
    assert hundred <= 1.5 * ten
    few, more = peaks(purifier, [4, 12], checkpointed=False)
    assert more > 1.5 * few  # without checkpointing it grows, so the test can detect growth
    assert few > 1.5 * ten / 2


@pytest.mark.slow
@pytest.mark.skipif(not CLEAR.exists(), reason="the peak of resident memory is reset through /proc")
@pytest.mark.parametrize("of", ["intermediate", "deviated"])
@pytest.mark.parametrize("purifier", ["diffpure", "gdmp"])
def test_peak_memory_with_all_states_is_that_of_few_steps_plus_a_few_copies_of_the_states(purifier, of):
    """A state has 24 images of 1×16×16 floats; GDMP's has two."""
    ten, hundred = peaks(purifier, [10, 100], checkpointed=True, of=of)
    copies = (hundred - ten) / (90 * 24 * 16 * 16 * 4 * (2 if purifier == "gdmp" else 1))
    assert ten > 4e6, "too little to measure"
    assert copies <= 8
