"""What the jobs of a board share: its images, its classifier and its defenses, built once a process."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
import torch

from purebench.boards.board import Board, DefenseChoice
from purebench.boards.code_identity import code_of_board
from purebench.boards.jobs import AnyJob, plan
from purebench.core import registry
from purebench.core.batching import fitting
from purebench.core.defense import Defense, as_defense, fingerprint
from purebench.core.devices import find_device
from purebench.core.errors import Missing, MissingFiles, PurebenchError, shown
from purebench.core.registry import Spec
from purebench.core.seeds import seeded
from purebench.core.threat import Knowledge, ThreatModel
from purebench.data.adapt import load_images
from purebench.data.datasets import Array, ImageSet
from purebench.data.validation import check_classes
from purebench.execution.contract.checks import Facts, check_contract, facts
from purebench.execution.contract.eager import eagerly
from purebench.execution.contract.pristine import copied
from purebench.records.provenance import versions

T = TypeVar("T")


def balanced_order(labels: Array, seed: int) -> Array:
    """A random order of the images, decided by the seed, in which every prefix is as class-balanced as can be.

    labels: int [N]. The classes take turns, in a new random order each round; within a class the order is random.
    Returns positions int64 [N].
    """
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(labels))
    rank = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        members = shuffled[labels[shuffled] == label]
        rank[members] = np.arange(len(members))
    return np.lexsort((rng.random(len(labels)), rank))


@dataclass(frozen=True)
class Context:
    """A board made ready on a device: `images` in the board's order, `order` their positions in the dataset.

    data: hash of the whole dataset that they were taken from. left_out: rows of the board as it was asked for that
    `board` lacks, because they need files that are not on this machine. warnings: sentences on images that do not fit
    the classifier.
    """

    board: Board
    images: ImageSet
    order: Array
    defenses: dict[str, Defense]
    fingerprints: dict[str, str]
    data: str
    device: torch.device
    left_out: dict[str, MissingFiles] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    known: dict[str, Facts] = field(default_factory=dict, init=False)

    def pristine(self, name: str) -> Defense:
        """A copy of a defense of which nothing was ever asked; `defenses` themselves are never called by jobs.

        Raises PurebenchError where the defense lives in memory and cannot be copied.
        """
        made = self._copy(name)
        made.shares_draws = self.facts(name).shares_draws
        return made

    def facts(self, name: str) -> Facts:
        """What is known of a defense; found out when first asked for, at the board's first images."""
        if name not in self.known:
            images = torch.as_tensor(self.images.take(range(min(2, len(self.images)))).floats()).to(self.device)
            try:
                self.known[name] = facts(self._copy(name), images)
            except PurebenchError:
                raise
            except Exception:  # the jobs tell, for the images that it is about
                self.known[name] = Facts()
        return self.known[name]

    def _copy(self, name: str) -> Defense:
        try:
            return copied(self.defenses[name])
        except PurebenchError:
            choice = next((row for row in self.board.defenses if row.name == name), None)
            if choice is None or choice.use.name.startswith(registry.IN_MEMORY):
                raise
        classifier = registry.create("classifiers", self.board.classifier)
        classifier.eval().requires_grad_(False).to(self.device)
        return build_defense(choice, self.board, classifier).to(self.device)

    def device_batch(self, defense: str) -> int:
        """How many images pass through a defense at once here; found by a probe when first asked for."""
        if defense not in self.sizes:
            with seeded("probe", device=self.device):
                image = torch.as_tensor(self.images.take([0]).floats()).to(self.device)
                self.sizes[defense] = fitting(self._copy(defense), image)
        return self.sizes[defense]

    def jobs(self) -> list[AnyJob]:
        """The board's plan."""
        hashes = [self.block(number).hash for number in range(self.board.blocks)]
        return plan(self.board, hashes, self.fingerprints, versions()["purebench"], code_of_board(self.board))

    def block(self, number: int) -> ImageSet:
        """The images of a block, in their order."""
        start = number * self.board.dataset.block
        return self.images.take(range(start, min(start + self.board.dataset.block, len(self.images))))


def build_defense(choice: DefenseChoice, board: Board, classifier: torch.nn.Module) -> Defense:
    """The defense of a board's row: what the factory makes, before the board's classifier where it is a purifier."""
    made = registry.create("defenses", choice.use, classifier=classifier)
    try:
        return as_defense(made, classifier)
    except TypeError as error:
        raise PurebenchError(f"defenses.{choice.name}: {error}") from error


def prepare(board: Board, device: str = "cpu") -> Context:
    """Loads images and models, of the rows whose files are on this machine; the others are left out.

    Raises PurebenchError for what cannot be found or made, and MissingFiles with all that others publish and is not
    here, if the images or the classifier are among it, or no row is left.
    """
    place = find_device(device)
    needed: list[Missing] = []
    data: ImageSet | None = _if_here(lambda: load_images(board.dataset.use), needed)
    classifier: torch.nn.Module | None = _if_here(lambda: registry.create("classifiers", board.classifier), needed)
    if data is None or classifier is None:
        raise MissingFiles(*needed, *_missing_of_rows(board))
    _check_numbers(board, data)
    order = balanced_order(data.labels, board.dataset.seed)[: board.dataset.images]
    classifier.eval().requires_grad_(False).to(place)
    defenses: dict[str, Defense] = {}
    left_out: dict[str, MissingFiles] = {}
    for choice in board.defenses:
        try:
            defenses[choice.name] = build_defense(choice, board, classifier).to(place)
        except MissingFiles as error:
            left_out[choice.name] = error
    if not any(choice.name in defenses for choice in board.shown):
        raise MissingFiles(*(file for error in left_out.values() for file in error.files))
    board = replace(board, defenses=tuple(choice for choice in board.defenses if choice.name in defenses))
    used = any(defense.classifier is classifier for defense in defenses.values())
    told = _check_classifier(classifier, data, place) if used else None
    prints = {name: fingerprint(defense) for name, defense in defenses.items()}
    return Context(
        board, data.take(order), order, defenses, prints, data.hash, place, left_out, warnings=(told,) if told else ()
    )


def _check_numbers(board: Board, data: ImageSet) -> None:
    """Raises PurebenchError for more images than there are, and for a radius that allows every change of them."""
    for key, value in (("images", board.dataset.images), ("block", board.dataset.block)):
        if value > len(data):
            raise PurebenchError(
                f"dataset.{key}: expected at most {len(data)}, the images of {data.name}, but got {shown(value)}; "
                "take fewer."
            )
    try:
        board.threat.check_shape(data.images.shape[1:])
    except PurebenchError as error:
        raise PurebenchError(f"threat.{error}") from error


def _check_classifier(classifier: torch.nn.Module, data: ImageSet, device: torch.device) -> str | None:
    """A warning where the classifier's outputs do not fit the classes of the images.

    Asks a copy, so that nothing was ever asked of the classifier itself. Raises PurebenchError where labels have no
    output. A classifier that cannot answer is told by the jobs it fails.
    """
    outputs: tuple[int, ...] = ()
    with suppress(Exception), torch.no_grad(), seeded("probe", device=device):
        outputs = tuple(deepcopy(classifier)(torch.as_tensor(data.take([0]).floats()).to(device)).shape)
    return check_classes(data, outputs[1]) if len(outputs) == 2 else None


def _if_here(make: Callable[[], T], missing: list[Missing]) -> T | None:
    """What is made; None if it needs files that are not on this machine, which are then added to `missing`."""
    try:
        return make()
    except MissingFiles as error:
        missing.extend(error.files)
        return None


def _missing_of_rows(board: Board) -> list[Missing]:
    """What the rows of a board that cannot be run need besides; made before a classifier that passes images on."""
    missing: list[Missing] = []
    for choice in board.defenses:
        with suppress(PurebenchError):  # another fault of a row is told when the board can be run
            _if_here(lambda row=choice: build_defense(row, board, torch.nn.Identity()), missing)  # type: ignore[misc]
    return missing


def check_defenses(context: Context) -> None:
    """Asks every defense once. Raises PurebenchError for what is no defense of images, before anything is run.

    Apart from `prepare`, because a finished board needs none.
    """
    images = torch.as_tensor(context.images.take([0, len(context.images) - 1]).floats()).to(context.device)
    for name in context.defenses:
        try:
            with eagerly():
                check_contract(context._copy(name), images)
        except PurebenchError as error:
            raise PurebenchError(f"defenses.{name}: {error}") from error


@runtime_checkable
class Particular(Protocol):
    """An attack that knows, before it runs, what threats it does not run under."""

    def check(self, threat: ThreatModel) -> None:
        """Raises PurebenchError where the attack cannot run under the threat, or cannot be made."""


def check_attacks(board: Board) -> None:
    """Makes every attack once. Raises PurebenchError for what cannot be made or run, before anything is run.

    Apart from `prepare`, because libraries of attacks take seconds to import and a finished board needs none.
    """
    for attack in board.attacks:
        where = f"attacks.{attack.name}"
        try:
            made = registry.create("attacks", attack.use)
            if isinstance(made, Particular):
                made.check(board.threat)
        except PurebenchError as error:
            raise PurebenchError(f"{where}: {error}") from error
        takes = inspect.signature(registry.factory("attacks", attack.use.name)[0]).parameters
        if attack.source is not None and "found" not in takes:
            raise PurebenchError(
                f"{where}.source: expected an attack that reuses images, such as transfer, "
                f"but {attack.use.name} takes none; leave the source out."
            )
        if attack.source is None and attack.use.name == "transfer":
            raise PurebenchError(f"{where}: expected a source, {{defense: …, attack: …}}, but got none.")
        knowledge = getattr(made, "knowledge", None)  # a local attack may be a plain function
        if knowledge is Knowledge.WHITE_BOX and Spec.parse(attack.gradient).name == "none":
            raise PurebenchError(
                f"{where}.gradient: expected a view with gradients, which {attack.use.name} needs, but got none; "
                "take exact, or bpda where the purifier has none."
            )
