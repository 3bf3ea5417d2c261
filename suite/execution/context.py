"""The context that all jobs of a board share: images, classifier and defenses, built once per process."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import TypeVar

import torch

from purebench.boards.board import Board, DefenseChoice
from purebench.boards.code_identity import code_of_board
from purebench.boards.files.needed_files import needed_files
from purebench.boards.jobs import AnyJob, plan
from purebench.boards.view_weights import view_weights
from purebench.core import registry
from purebench.core.compute.batching import fitting
from purebench.core.compute.compiled import Probed
from purebench.core.compute.devices import check_precision, find_device
from purebench.core.defense import Defense, as_defense, fingerprint
from purebench.core.errors import Missing, MissingFiles, PurebenchError, shown
from purebench.core.seeds import seeded
from purebench.data.adapt import load_images
from purebench.data.datasets import Array, ImageSet
from purebench.data.ordering import balanced_order as balanced_order
from purebench.data.validation import check_classes
from purebench.execution.contract.checks import Facts, facts
from purebench.execution.contract.compilation import compiled_names
from purebench.execution.contract.pristine import copied
from purebench.records.provenance import versions

T = TypeVar("T")


@dataclass(frozen=True)
class Context:
    """A board that is prepared to run on a device.

    Attributes:
        board: the board, without the rows that are left out.
        images: the images, in the board's order.
        order: their positions in the dataset.
        defenses: the defenses by row.
        fingerprints: the sha256 of the weights of each defense.
        data: the hash of the whole dataset.
        device: the device.
        left_out: rows of the requested board that `board` lacks, because they need files that are not on this machine.
        sizes: the device batch of each defense, once it is known.
        warnings: sentences about images that do not fit the classifier.
        known: the facts about each defense, once they are known, by its name and the number of images they are known
            from.
        checked: the defenses that `check_defenses` has accepted.
        view_weights: what `view_weights` has computed, by the row and the views.
        probes: the compiled networks of each defense, once they are known, by its name, precision and layout.
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
    known: dict[tuple[str, int], Facts] = field(default_factory=dict)
    checked: set[str] = field(default_factory=set)
    view_weights: dict[tuple[str, str], str] = field(default_factory=dict)
    probes: dict[tuple[str, str, bool], Probed] = field(default_factory=dict)

    def pristine(self, name: str) -> Defense:
        """Return a copy of a defense that was never called; jobs never call `defenses` themselves.

        Raises:
            PurebenchError: the defense exists only in memory and cannot be copied.
        """
        made = self.uncalled(name)
        made.shares_draws = self.facts(name).shares_draws
        return made

    def facts(self, name: str) -> Facts:
        """Return the facts about a defense; they are determined at the first request, on the board's first images."""
        count = min(2, len(self.images))
        if (name, count) not in self.known:
            images = torch.as_tensor(self.images.take(range(count)).floats()).to(self.device)
            try:
                self.known[name, count] = facts(self.uncalled(name), images)
            except PurebenchError:
                raise
            except Exception:  # the jobs report it for the images that cause it
                self.known[name, count] = Facts()
        return self.known[name, count]

    def covers(self, board: Board) -> bool:
        """Return whether all images and models of a board are those of this one, so that `on` can return its context.

        Args:
            board: a board with its own attacks, threat model, and number of images.
        """
        own, rows = self.board, {row.name: row.use for row in self.board.defenses}
        same_data = (board.dataset.use, board.dataset.seed) == (own.dataset.use, own.dataset.seed)
        return (
            same_data
            and board.classifier == own.classifier
            and board.dataset.images <= len(self.images)
            and all(rows.get(row.name) == row.use for row in board.defenses if row.name not in self.left_out)
        )

    def on(self, board: Board) -> Context:
        """Return the context of a board that this one covers, without loading images or models again.

        Args:
            board: the board, such as this one on its first blocks, or with other attacks.

        Returns:
            Its context. It shares the defenses and what is known about them with this one.
        """
        _check_threat(board, self.images)
        rows = tuple(row for row in board.defenses if row.name in self.defenses)
        names, images = [row.name for row in board.defenses], board.dataset.images
        return replace(
            self,
            board=replace(board, defenses=rows),
            images=self.images.take(range(images)),
            order=self.order[:images],
            defenses={row.name: self.defenses[row.name] for row in rows},
            left_out={name: error for name, error in self.left_out.items() if name in names},
        )

    def uncalled(self, name: str) -> Defense:
        """Return a copy of a defense that was never called, as its factory made it; see `pristine`."""
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
        """Return the number of images that pass through a defense at once; a probe at the first call determines it."""
        if defense not in self.sizes:
            with seeded("probe", device=self.device):
                image = torch.as_tensor(self.images.take([0]).floats()).to(self.device)
                self.sizes[defense] = fitting(self.uncalled(defense), image)
        return self.sizes[defense]

    def jobs(self, written: Board | None = None) -> list[AnyJob]:
        """Return the board's plan.

        Args:
            written: the same board with its Python files under other paths, which the keys contain; None for those of
                `board`.

        Raises:
            PurebenchError: the device does not have the arithmetic of the board's attacks.
        """
        check_precision(self.board.attack_precision, self.device)
        hashes = [self.block(number).hash for number in range(self.board.blocks)]
        code, weights = code_of_board(self.board), view_weights(self.board, self.uncalled, self.view_weights)
        compiled = compiled_names(self)
        board = self.board
        if written is not None:
            board = replace(written, defenses=tuple(row for row in written.defenses if row.name in self.defenses))
        return plan(board, hashes, self.fingerprints, versions()["purebench"], code, weights, compiled)

    def block(self, number: int) -> ImageSet:
        """Return the images of a block, in their order."""
        start = number * self.board.dataset.block
        return self.images.take(range(start, min(start + self.board.dataset.block, len(self.images))))


def build_defense(choice: DefenseChoice, board: Board, classifier: torch.nn.Module) -> Defense:
    """Build the defense of a board's row with its factory; a purifier is placed before the board's classifier.

    Args:
        choice: the row.
        board: the board.
        classifier: the board's classifier.

    Raises:
        PurebenchError: the factory fails, or its result is not a defense.
    """
    made = registry.create("defenses", choice.use, classifier=classifier)
    try:
        return as_defense(made, classifier)
    except TypeError as error:
        raise PurebenchError(f"defenses.{choice.name}: {error}") from error


def prepare(board: Board, device: str = "cpu") -> Context:
    """Load the images and the models of the rows whose files are on this machine; other rows are left out.

    Args:
        board: the board.
        device: `cpu`, `cuda` or `cuda:0`.

    Raises:
        PurebenchError: something cannot be found or made.
        MissingFiles: files of the images or the classifier are not on this machine, or those of all rows; all missing
            files are listed.
    """
    place = find_device(device)
    needed: list[Missing] = []
    data: ImageSet | None = _if_here(lambda: load_images(board.dataset.use), needed)
    classifier: torch.nn.Module | None = _if_here(lambda: registry.create("classifiers", board.classifier), needed)
    if data is None or classifier is None:
        raise MissingFiles(*needed, *(one.file for one in needed_files(board) if one.found is None))
    _check_numbers(board, data)
    order = balanced_order(data.labels, board.dataset.seed)[: board.dataset.images]
    classifier.eval().requires_grad_(False).to(place)
    as_made = _identity(classifier)
    defenses: dict[str, Defense] = {}
    left_out: dict[str, MissingFiles] = {}
    for choice in board.defenses:
        try:
            defenses[choice.name] = build_defense(choice, board, classifier).to(place)
        except MissingFiles as error:
            left_out[choice.name] = error
        if _identity(classifier) != as_made:
            raise PurebenchError(
                f"{choice.name}: expected a factory that does not modify the board's classifier, which other rows "
                "share, but its weights, layers or hooks have changed; modify a copy.deepcopy of it."
            )
    if not any(choice.name in defenses for choice in board.shown):
        raise MissingFiles(*(file for error in left_out.values() for file in error.files))
    board = replace(board, defenses=tuple(choice for choice in board.defenses if choice.name in defenses))
    used = any(defense.classifier is classifier for defense in defenses.values())
    told = _check_classifier(classifier, data, place) if used else None
    prints = {name: fingerprint(defense) for name, defense in defenses.items()}
    return Context(
        board, data.take(order), order, defenses, prints, data.hash, place, left_out, warnings=(told,) if told else ()
    )


def _identity(classifier: torch.nn.Module) -> tuple[str, list[tuple[object, ...]]]:
    """Return a value that changes when a weight, a layer, a hook or a method of an instance does."""
    layers: list[tuple[object, ...]] = []
    for name, layer in classifier.named_modules():
        known = vars(layer)
        hooks = tuple((key, tuple(map(id, value.values()))) for key, value in known.items() if key.endswith("_hooks"))
        layers.append((name, id(layer), type(layer), hooks, id(known.get("forward"))))
    return fingerprint(classifier), layers


def _check_numbers(board: Board, data: ImageSet) -> None:
    """Raise PurebenchError for more images than there are, or for a radius that permits every change of them."""
    for key, value in (("images", board.dataset.images), ("block", board.dataset.block)):
        if value > len(data):
            raise PurebenchError(
                f"dataset.{key}: expected at most {len(data)}, the number of images of {data.name}, but got "
                f"{shown(value)}; use fewer."
            )
    _check_threat(board, data)


def _check_threat(board: Board, data: ImageSet) -> None:
    try:
        board.threat.check_shape(data.images.shape[1:])
    except PurebenchError as error:
        raise PurebenchError(f"threat.{error}") from error


def _check_classifier(classifier: torch.nn.Module, data: ImageSet, device: torch.device) -> str | None:
    """Return a warning if the classifier's outputs do not match the classes of the images.

    A copy is called, so that the classifier itself is never called. Raises PurebenchError if labels have no output. If
    the classifier fails, the jobs report it.
    """
    outputs: tuple[int, ...] = ()
    with suppress(Exception), torch.no_grad(), seeded("probe", device=device):
        outputs = tuple(deepcopy(classifier)(torch.as_tensor(data.take([0]).floats()).to(device)).shape)
    return check_classes(data, outputs[1]) if len(outputs) == 2 else None


def _if_here(make: Callable[[], T], missing: list[Missing]) -> T | None:
    """Return the object that `make` makes; None if files are missing, which are appended to `missing`."""
    try:
        return make()
    except MissingFiles as error:
        missing.extend(error.files)
        return None
