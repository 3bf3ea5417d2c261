"""The picture table: pixels are exact, names are written as they are, and matplotlib is neither heard nor changed."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import warnings
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image

from purebench.data.pictures import PictureTable

RNG = np.random.default_rng(0)


def noise(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape, dtype=np.uint8)


def table(name: str, note: str = "") -> np.ndarray:
    ramp = np.arange(28 * 28, dtype=np.uint16).astype(np.uint8).reshape(1, 28, 28)
    return np.asarray(PictureTable([[ramp]], [name], ["b"], note).draw())


def place(sheet: np.ndarray, picture: np.ndarray) -> tuple[int, int]:
    """Return the row and column of the upper left corner of a picture [H,W,3], which must be there once."""
    high, wide = picture.shape[:2]
    corners = np.argwhere((sheet[: 1 - high or None, : 1 - wide or None] == picture[0, 0]).all(2))
    ((y, x),) = [(y, x) for y, x in corners if np.array_equal(sheet[y : y + high, x : x + wide], picture)]
    return int(y), int(x)


@pytest.mark.parametrize("shape", [(1, 28, 32), (3, 32, 32), (3, 5, 7)])
@pytest.mark.parametrize("name", ["c", "a longer name", "a name that is wider than its picture\nof two lines"])
def test_every_pixel_is_enlarged_by_a_whole_factor_and_pictures_lie_in_a_grid(
    shape: tuple[int, int, int], name: str
) -> None:
    cells: list[list[np.ndarray | None]] = [[noise(*shape) for _ in range(3)] for _ in range(2)]
    cells[1][2] = None
    sheet = np.asarray(PictureTable(cells, ["row", "another\nrow"], [name] * 3, "note").draw())
    factor = 96 // max(shape)
    found = {}
    for r, row in enumerate(cells):
        for c, cell in enumerate(row):
            if cell is not None:
                colour = np.broadcast_to(cell.transpose(1, 2, 0), (*shape[1:], 3))
                found[r, c] = place(sheet, colour.repeat(factor, 0).repeat(factor, 1))
    height, width = factor * shape[1], factor * shape[2]
    across = found[0, 1][1] - found[0, 0][1]
    assert across >= width + 4
    (y, x), lower = found[0, 0], found[1, 0][0]
    assert lower == y + height + 4
    assert found == {(r, c): ((y, lower)[r], x + c * across) for r, c in found}
    assert (sheet[lower : lower + height, x + 2 * across : x + 2 * across + width] == 255).all()


@pytest.mark.parametrize(("shape", "columns", "cell"), [((1, 28, 32), 3, (96, 84)), ((3, 200, 100), 40, (24, 48))])
def test_pictures_are_enlarged_by_whole_factors_and_reduced_to_fit(
    shape: tuple[int, int, int], columns: int, cell: tuple[int, int]
) -> None:
    made = PictureTable([[np.zeros(shape, dtype=np.uint8)] * columns] * 2, ["a", "b"], ["c"] * columns)
    assert made.cell == cell
    dark = (np.asarray(made.draw()) == 0).all(2)
    assert (dark.sum(1) >= columns * cell[0]).sum() == 2 * cell[1]
    assert (dark.sum(0) >= 2 * cell[1]).sum() == columns * cell[0]


def test_names_and_note_are_inside_the_margin() -> None:
    word = "wide " * 30
    for made in (table(word), table("a\nb\nc\nd\ne\nf\ng\nh\ni\nj"), table("a", word), table("a", "x\n" * 9)):
        ink = np.argwhere((made < 255).any(2))
        (upper, left), (lower, right) = ink.min(0), ink.max(0)
        assert min(upper, left, made.shape[0] - 1 - lower, made.shape[1] - 1 - right) >= 10
    assert table(word).shape[1] > table("a").shape[1]
    assert table("a", word).shape[1] > table("a").shape[1]


def test_the_note_begins_below_the_names_of_the_rows() -> None:
    bare, made = table("a long name"), table("a long name", "note")
    assert made.shape[1] == bare.shape[1]
    note = (made[bare.shape[0] - 6 :] < 255).any(2).any(0)
    assert np.flatnonzero(note)[0] < 16


def test_a_wide_name_does_not_run_into_the_next() -> None:
    cells = [[np.zeros((1, 28, 28), dtype=np.uint8)] * 2]
    sheet = np.asarray(PictureTable(cells, [""], ["M" * 30] * 2).draw())
    ink = (sheet < 255).any(2)
    first, second = np.flatnonzero((sheet == 0).all(2).sum(0) >= 84).reshape(2, 84)[:, 0]
    names = ink[: int(np.flatnonzero((sheet == 0).all(2).sum(1) >= 168)[0])].any(0)
    middle = (first + second + 84) // 2
    assert not names[middle - 1 : middle + 2].any()


def test_dollars_are_letters() -> None:
    """As a formula, two dollars would vanish, and a wrong formula would raise."""
    assert table("$x$").shape[1] > table("x").shape[1]
    table(r"$\wrong{$ 100 % _^ \$")


@pytest.mark.parametrize("text", ["Ä", "ε", "ж"])
def test_letters_outside_ascii_are_drawn(text: str) -> None:
    assert not np.array_equal(table(text), table("\u4e00"))  # the sign for a missing letter


def test_missing_letters_do_not_warn_and_two_files_are_equal(tmp_path: Path) -> None:
    made = PictureTable([[noise(3, 8, 8)]], ["\u65e5\u672c"], ["b"], "c")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("one.png", "two.png"):
            made.draw().save(tmp_path / name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    with Image.open(tmp_path / "one.png") as saved:
        assert not saved.info


def test_the_users_defaults_do_not_matter_and_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = table("$x$", "note")
    log = logging.getLogger("matplotlib")
    monkeypatch.setattr(log, "level", logging.INFO)
    own = {"text.usetex": True, "font.family": "monospace", "font.size": 30, "figure.facecolor": "red"}
    with matplotlib.rc_context({**own, "figure.dpi": 200, "savefig.dpi": 300, "image.origin": "lower"}):
        before = dict(matplotlib.rcParams)
        np.testing.assert_array_equal(table("$x$", "note"), usual)
        assert dict(matplotlib.rcParams) == before
    assert log.level == logging.INFO


def test_it_draws_without_a_home_and_a_list_of_fonts_and_says_nothing(tmp_path: Path) -> None:
    code = (
        "import sys, numpy as np; from purebench.data.pictures import PictureTable\n"
        "assert 'matplotlib' not in sys.modules\n"
        "PictureTable([[np.zeros((1, 8, 8), np.uint8)]], ['a'], ['b']).draw().save(sys.argv[1])\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    nowhere = {"HOME": os.devnull, "MPLCONFIGDIR": f"{os.devnull}/a", "XDG_CACHE_HOME": f"{os.devnull}/b"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.png")],
        env={**os.environ, **nowhere},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "a.png").is_file()
