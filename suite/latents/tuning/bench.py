"""Measures the value of a list of alphas: the runner attacks and verifies the defense that has it, as on a board.

All lists get the same random numbers (the attack's, the defense's and the verification's), so that their difference
has less noise: common random numbers, Law & Kelton's book on simulation. Different parts of the images have
different random numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from purebench.boards.board import AttackChoice, Board, DatasetChoice, DefenseChoice, Source
from purebench.boards.jobs import Job
from purebench.core import registry
from purebench.core.compute.batching import fitting
from purebench.core.compute.devices import find_device
from purebench.core.defense import Defense, LatentPurifier, as_defense, fingerprint
from purebench.core.errors import PurebenchError
from purebench.core.registry import Spec
from purebench.core.seeds import seed_of, seeded
from purebench.data.adapt import load_images
from purebench.data.datasets import Array, ImageSet, array_hash
from purebench.data.dev_images import NAME
from purebench.data.splits import refuse_test
from purebench.execution.context import Context, build_defense
from purebench.execution.jobs.job import run_job
from purebench.execution.jobs.job_record import JobInputs, JobResult
from purebench.latents.tuning.images import boards_of, refuse_shared, shuffled_tail
from purebench.latents.tuning.setting import Setting

CLEAN = AttackChoice("clean", Spec("clean"))
ONCE = AttackChoice("once", Spec("fgsm"), "exact")
AGAIN = AttackChoice("again", Spec("transfer"), source=Source("reconstruction", "once"))
"""The paper's objective: FGSM once, against the reconstruction; its images are reused against every list."""
CHUNK = 128
"""Number of images that are attacked at once for the paper's objective."""


@dataclass(frozen=True)
class Part:
    """A part of the images.

    Attributes:
        words: Words that decide the random numbers of this part.
        images: The images.
        places: [N], their positions in the data set.
        adversarial: float32 [N,C,H,W] in [0,1], where the objective has images made once; else None.
    """

    words: str
    images: ImageSet
    places: Array
    adversarial: Array | None = None

    @property
    def hash(self) -> str:
        """sha256 of the images, the labels, and the adversarial images if there are any."""
        once = () if self.adversarial is None else (self.adversarial,)
        return array_hash(self.images.images, self.images.labels, *once)


class Bench:
    """A setting that is ready to be evaluated on a device.

    Its attributes `search` and `fresh` are its images, `latents` is the number of alphas.

    Args:
        setting: The setting.
        device: cpu, cuda or cuda:0.

    Raises:
        PurebenchError: For a part that cannot be found or made, a defense without a LatentPurifier, too few images, and
            images that belong to a board.
    """

    def __init__(self, setting: Setting, device: str = "cpu"):
        self.setting, self.device = setting, find_device(device)
        classifier = registry.create("classifiers", setting.classifier)
        classifier.eval().requires_grad_(False).to(self.device)
        row = DefenseChoice("searched", setting.defense)
        made = build_defense(row, self._board(CLEAN, row, 1), classifier).to(self.device)
        if not isinstance(made.purifier, LatentPurifier):
            raise PurebenchError(
                f"tune: expected a purifier that mixes latents, such as mlvgm-hvae, but got {setting.defense}."
            )
        self.defense, self.purifier = made, made.purifier
        self.latents, self.weights = len(self.purifier.kept), fingerprint(made)
        data = load_images(setting.dataset)
        setting.threat.check_shape(data.images.shape[1:])
        order = shuffled_tail(data, setting.skip, setting.seed)
        with seeded("probe", device=self.device):
            image = torch.as_tensor(data.take(order[:1]).floats()).to(self.device)
            self.size = fitting(made, image)
        self.search, self.fresh = self._parts(data, order)
        both = data.take(np.concatenate([self.search.places, self.fresh.places]))
        of = setting.board.dataset.use if setting.dataset.name == NAME else setting.dataset
        self.apart_from = refuse_shared(both, boards_of(of, [setting.board]))
        refuse_test(data, "tune")

    def ask(self, alphas: Sequence[float], part: Part) -> Array:
        """Return whether the defense with these alphas is right under attack.

        Args:
            alphas: Before attenuation, coarse to fine.
            part: Images.

        Returns:
            bool [N,draws].
        """
        if part.adversarial is None:
            return self._right(alphas, self.setting.attack, part)
        blank = self._run([0.0] * self.latents, CLEAN, part).record
        return self._right(alphas, AGAIN, part, JobInputs(source=JobResult(blank, part.adversarial)))

    def clean(self, alphas: Sequence[float], part: Part) -> Array:
        """Return whether the defense with these alphas is right on the clean images.

        Args:
            alphas: Before attenuation, coarse to fine.
            part: Images.

        Returns:
            bool [N,draws].
        """
        return self._right(alphas, CLEAN, part)

    def value(self, alphas: Sequence[float]) -> float:
        """Return the objective of the search: the share of right draws on its images, in [0,1]."""
        return float(self.ask(alphas, self.search).mean())

    def random(self, alphas: Sequence[float]) -> bool:
        """Return whether the defense with these alphas is random."""
        return self._with(alphas).random

    def _with(self, alphas: Sequence[float]) -> Defense:
        purifier = self.purifier.with_alphas(self.setting.attenuated(alphas))
        made = Defense(self.defense.classifier, purifier, random=self.defense.classifier_random)
        return as_defense(made).to(self.device)

    def _board(self, attack: AttackChoice, row: DefenseChoice, images: int) -> Board:
        """Return a board of one row, one column and one block."""
        setting = self.setting
        return Board(
            name="tune",
            title="",
            about="",
            dataset=DatasetChoice(setting.dataset, images, images, setting.seed),
            classifier=setting.classifier,
            threat=setting.threat,
            attacks=(attack,),
            defenses=(row,),
            draws=setting.draws,
            confidence=setting.confidence,
            seed=setting.seed,
        )

    def _right(
        self, alphas: Sequence[float], attack: AttackChoice, part: Part, given: JobInputs | None = None
    ) -> Array:
        return np.array(self._run(alphas, attack, part, given).record.correct, dtype=np.bool_)

    def _run(
        self, alphas: Sequence[float], attack: AttackChoice, part: Part, given: JobInputs | None = None
    ) -> JobResult:
        """Run one job on the part's images. Raise PurebenchError with its reason if it failed."""
        row = DefenseChoice("searched", self.setting.defense)
        context = Context(
            board=self._board(attack, row, len(part.images)),
            images=part.images,
            order=part.places,
            defenses={row.name: self._with(alphas)},
            fingerprints={row.name: self.weights},
            data=part.images.hash,
            device=self.device,
            sizes={row.name: self.size},
        )
        key = f"{seed_of('tune', str(self.setting.seed), part.words):x}"
        found = run_job(Job(key, key, row, attack, 0), context, given)
        if (reason := found.record.failure) is not None:
            raise PurebenchError(f"tune: {attack.use} on {self.setting.defense}: {reason}")
        return found

    def _parts(self, data: ImageSet, order: Array) -> tuple[Part, Part]:
        """Return the images of the search, and as many fresh ones as the setting wants; no image is in both."""
        setting = self.setting
        wanted = setting.images + setting.fresh
        if setting.objective == "paper":
            places, adversarial = self._flipped(data, order, wanted)
        else:
            places, adversarial = order[:wanted], None
        if len(places) < wanted:
            raise PurebenchError(
                f"--images: expected at most {max(len(places) - setting.fresh, 0)}, because {setting.fresh} of "
                f"{len(places)} available images are needed as fresh ones, but got {setting.images}; use fewer, or "
                "another data set (--dataset)."
            )
        parts = []
        for words, start, end in (("search", 0, setting.images), ("fresh", setting.images, wanted)):
            some = places[start:end]
            made = None if adversarial is None else adversarial[start:end]
            parts.append(Part(words, data.take(some), some, made))
        return parts[0], parts[1]

    def _flipped(self, data: ImageSet, order: Array, wanted: int) -> tuple[Array, Array]:
        """Return places and adversarial images of those that the reconstruction has right before FGSM and wrong after.

        They are kept as float32: rounded to whole grey levels, some would be right again. The steepest l2 step is
        along the gradient; the authors' code steps along its sign.
        """
        zeros, places, made, count = [0.0] * self.latents, [], [], 0
        for start in range(0, len(order), CHUNK):
            some = order[start : start + CHUNK]
            part = Part(f"once {start}", data.take(some), some)
            before, after = (self._run(zeros, attack, part) for attack in (CLEAN, ONCE))
            held, still = np.array(before.record.robust), np.array(after.record.robust)
            flipped = held & ~still
            assert after.adversarial is not None
            places.append(some[flipped])
            made.append(after.adversarial[flipped])
            count += int(flipped.sum())
            if count >= wanted:
                break
        return np.concatenate(places)[:wanted], np.concatenate(made)[:wanted]
