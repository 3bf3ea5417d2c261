"""Builds the commands that would raise a letter of a grade."""

from __future__ import annotations

from dataclasses import dataclass

from purebench.boards.bundled import bundled
from purebench.boards.replay import Value, command
from purebench.core.registry import IN_MEMORY, Spec
from purebench.results.results import DefenseResult

SHIPPED = {"fashion-mnist": 1_000}
"""Numbers of images of data sets that come with purebench; those of others are not known here."""
OTHER_DATA = "a data set with more images"


@dataclass(frozen=True)
class Cures:
    """The commands for one row of a board.

    Attributes:
        result: the result of the row.
        origin: the board as the user named it; "" if that is not known.
    """

    result: DefenseResult
    origin: str = ""

    @property
    def board(self) -> str:
        """The board as commands name it."""
        own = str(self.result.board["name"]).partition("@")[0]
        return self.origin or (own if own in bundled() else f"{own}.yaml")

    @property
    def bundled(self) -> bool:
        """Whether the board comes with purebench, so that a change needs a copy of it."""
        return self.board in bundled()

    @property
    def defense(self) -> str:
        """The spec of the defense."""
        return str(Spec(self.result.spec["name"], self.result.spec.get("params", {})))

    @property
    def in_memory(self) -> bool:
        """Whether the defense is an object in memory, which no command can name."""
        return str(self.result.spec["name"]).startswith(IN_MEMORY)

    def run(
        self,
        images: int | None = None,
        *,
        retry_errors: bool = False,
        evidence: bool = False,
        copy: str = "",
    ) -> str:
        """Return the command that runs the row again.

        Args:
            images: the number of images, None for those of the board.
            retry_errors: whether to run jobs again that ended in an error.
            evidence: whether to run the controls and the ladder of the board as well.
            copy: the board to name instead of the row's own, "" for that.
        """
        board, path = self.result.board, copy or self.board
        count = int(board["dataset"]["images"]) if images is None else images
        if self.in_memory:
            more = f", images={count}"
            more += ", retry_errors=True" if retry_errors else ""
            more += ", evidence=True" if evidence else ""
            return f"purebench.evaluate(defense, board={path!r}{more})"
        options: dict[str, Value] = {
            "defense": [self.defense],
            "images": count,
            "radius": str(board["threat"]["radius"]) if "@" in str(board["name"]) else None,
            "cascade": bool(board["cascade"]),
            "retry_errors": retry_errors,
            "evidence": evidence,
        }
        return command("run", path, **options)

    def change(self, what: str, *, at_least: int = 0) -> str:
        """Return a change of the board.yaml, and the command that runs the row with its controls and its ladder again.

        A bundled board is copied first.

        Args:
            what: the keys to add or to change.
            at_least: the number of images that the change needs.
        """
        name = f"my-{self.board}"
        copy = f"{name}/board.yaml" if self.bundled else ""
        where = f"a copy of the board (purebench new board {name} --from {self.board})" if copy else "the board.yaml"
        return f"{what} in {where}, then {self.run(self.blocks_of(at_least), evidence=True, copy=copy)}"

    def more(self, images: int, *, evidence: bool = False) -> str:
        """Return the command that runs the row on more images, or the change of the board.yaml if there are no more.

        Args:
            images: the number of images that is needed; all of a shipped data set if it has fewer.
            evidence: whether to run the controls and the ladder of the board as well.
        """
        wanted = self._there(images)
        if wanted < images and wanted <= len(self.result.images):
            return self.change(OTHER_DATA)
        return self.run(wanted, evidence=evidence)

    def double(self) -> str:
        """Return the command for twice as many images, but at least those of the board, with the controls."""
        twice = 2 * len(self.result.images)
        return self.more(max(twice, self.blocks_of(twice)), evidence=True)

    def blocks_of(self, images: int) -> int:
        """Return a number of images in whole blocks, at least that of the board, at most all of a shipped data set."""
        own, block = (int(self.result.board["dataset"][name]) for name in ("images", "block"))
        return own if images <= own else self._there(-(-images // block) * block)

    def _there(self, images: int) -> int:
        return min(images, SHIPPED.get(Spec.parse(self.result.board["dataset"]["use"]).name, images))

    def check(self) -> str:
        """Return the command that looks for the cause of a warning."""
        if self.in_memory:
            return f"robustness.honest(defense, board={self.board!r}) in a test"
        return command("check", self.defense, board=self.board)

    def correct(self) -> str:
        """Return the command that shows why a defense fails, and the one that runs its errored jobs again."""
        return f"{self.check()} shows the cause; correct the defense, then {self.run(retry_errors=True)}"

    def search(self) -> str:
        """Return the command that searches for an attack on the defense."""
        if self.in_memory:
            return self.change(f"an attack with rows: [{self.result.name}]")
        return command("break", self.defense, board=self.board, hours=1)
