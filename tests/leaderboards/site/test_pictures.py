"""Tests the pictures of a site: pixels are those of the bundles, and bundles that do not belong to it have none."""

import base64
import io
import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from purebench.cli.commands.sharing.site_boards import load_source
from purebench.cli.main import app
from purebench.core.errors import PurebenchError
from purebench.data.datasets import fashion_mnist
from purebench.leaderboards.site import pictures as site_pictures
from purebench.leaderboards.site.build import build_site
from purebench.leaderboards.site.cards import Catalogue
from purebench.leaderboards.site.pictures import difference, find_pictures
from purebench.results.files.bundles.bundle import read_bundle

from forged_bundles import forged, toy_bundle  # isort: skip
from picture_bundles import pictured_board  # isort: skip


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    return pictured_board(tmp_path_factory.mktemp("pictured"))


@pytest.fixture(scope="module")
def source(board):
    return load_source(board.results)


@pytest.fixture(scope="module")
def site(board, source, tmp_path_factory):
    out = tmp_path_factory.mktemp("site") / "site"
    build_site([source], out, Catalogue(), pictures=find_pictures([source], [board.bundles["none"]]))
    return out


def received(path):
    text = path.read_text(encoding="utf-8")
    kind, plain = re.fullmatch(r'purebench\.receive\("(\w+)", (.*)\);\n', text, re.DOTALL).groups()
    return kind, json.loads(plain)


def blocks(folder, kind):
    """All entries of a folder of blocks, in their order."""
    found = [received(folder / f"{block}.js") for block in range(len(list(folder.iterdir())))]
    assert {one for one, _ in found} == {kind}
    return [one for _, block in found for one in block]


def pixels(text):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))


def test_pictures_are_the_images_examples_and_differences_of_the_bundle(board, site):
    bundle = read_bundle(board.bundles["none"])
    clean = fashion_mnist().take(list(bundle.result.images)).floats()
    folder = site / "pictures" / "small"
    assert [len(received(folder / "clean" / f"{block}.js")[1]) for block in range(3)] == [4, 4, 2]
    shown = [pixels(one) for one in blocks(folder / "clean", "clean")]
    assert np.array_equal(shown, np.round(255 * clean[:, 0]).astype(np.uint8))
    examples = blocks(folder / "rows" / "none", "examples")
    changed = 0
    for (adversarial, change, largest), example, image in zip(examples, bundle.examples, clean, strict=True):
        assert np.array_equal(pixels(adversarial), np.round(255 * example[0]).astype(np.uint8))
        apart = example[0] - image[0]
        assert largest == pytest.approx(np.abs(apart).max(), abs=1e-6)
        expected = np.full_like(apart, 127.5) if largest == 0 else 127.5 * (1 + apart / np.abs(apart).max())
        assert np.abs(pixels(change) - expected).max() <= 0.5001
        changed += largest > 0
    assert changed > 3


def test_only_rows_with_a_bundle_have_pictures(site, source, board):
    _, data = received(site / "data" / "small.js")
    assert {row["name"]: row["pictures"] for row in data["rows"]} == {
        "none": "../pictures/small/rows/none/",
        "blur": "",
    }
    assert (data["clean"], data["block"]) == ("../pictures/small/clean/", 4)
    assert not (site / "pictures" / "small" / "rows" / "blur").exists()
    download = json.loads((site / "data" / "small.json").read_text(encoding="utf-8"))
    assert not {"clean"} & set(download)
    assert not any("pictures" in row for row in download["rows"])


def test_the_picture_of_no_change_is_grey_and_of_a_change_signed():
    clean = np.full((1, 2, 2), 0.5, dtype=np.float32)
    picture, largest = difference(clean, clean)
    assert largest == 0
    assert (picture == 0.5).all()
    picture, largest = difference(clean + np.array([[[0.1, -0.1], [0.05, 0]]], dtype=np.float32), clean)
    assert largest == pytest.approx(0.1)
    assert picture[0] == pytest.approx(np.array([[1, 0], [0.75, 0.5]]), abs=1e-6)


def test_bundles_of_other_results_have_no_pictures_and_are_reported(board, source, tmp_path, capsys):
    def other(parts):
        parts["result"]["provenance"]["commit"] = "another"

    path = tmp_path / "other.zip"
    path.write_bytes(forged(board.bundles["none"].read_bytes(), other))
    assert find_pictures([source], [path]) == {}
    assert "another version" in capsys.readouterr().err
    part = replace(source, rows=source.rows[:1])
    found = find_pictures([part], list(board.bundles.values()))
    assert list(found["small"].bundles) == [source.rows[0].name]
    assert "is not on it" in capsys.readouterr().err


def test_a_bundle_with_other_pictures_is_refused(board, source, tmp_path):
    """Its result is that of the site, and its hashes are consistent."""

    def drawn(parts):
        parts["examples"][:] = 1 - parts["examples"]

    path = tmp_path / "drawn.zip"
    path.write_bytes(forged(board.bundles["none"].read_bytes(), drawn))
    with pytest.raises(PurebenchError, match=r"drawn\.zip: examples: expected adversarial examples within the radius"):
        find_pictures([source], [path])
    assert find_pictures([source], [path], optional=[path]) == {}


def test_other_clean_images_are_refused(board, source, monkeypatch):
    data = fashion_mnist()
    monkeypatch.setattr(site_pictures, "at_hand", lambda of: replace(data, images=255 - data.images))
    with pytest.raises(PurebenchError, match=r"none\.zip: dataset: expected the images that the bundle was made with"):
        find_pictures([source], [board.bundles["none"]])


def test_without_clean_images_only_adversarial_examples_are_shown(board, source, tmp_path, monkeypatch):
    monkeypatch.setattr(site_pictures, "at_hand", lambda of: None)
    found = find_pictures([source], [board.bundles["none"]])
    build_site([source], tmp_path / "site", Catalogue(), pictures=found)
    assert not (tmp_path / "site" / "pictures" / "small" / "clean").exists()
    assert received(tmp_path / "site" / "data" / "small.js")[1]["clean"] == ""
    (adversarial, change, largest), *_ = received(tmp_path / "site/pictures/small/rows/none/0.js")[1]
    assert (pixels(adversarial).shape, change, largest) == ((32, 32), "", 0)


def test_examples_that_are_not_in_the_bundle_have_no_picture(board, source, tmp_path, monkeypatch):
    bundle = read_bundle(board.bundles["none"])
    stored = bundle.manifest.examples.model_copy(update={"stored": [1, 2]})
    part = replace(
        bundle, manifest=bundle.manifest.model_copy(update={"examples": stored}), examples=bundle.examples[1:3]
    )
    found = find_pictures([source], [board.bundles["none"]])
    monkeypatch.setattr(site_pictures, "read_bundle", lambda path: part)
    build_site([source], tmp_path / "site", Catalogue(), pictures=found)
    shown = blocks(tmp_path / "site/pictures/small/rows/none", "examples")
    assert [place for place, one in enumerate(shown) if one is not None] == [1, 2]
    assert np.array_equal(pixels(shown[2][0]), np.round(255 * bundle.examples[2, 0]).astype(np.uint8))


def test_no_code_of_a_bundle_is_run_for_its_pictures(tmp_path):
    """Its data set is a function in a file, which is there."""
    path = toy_bundle(tmp_path)
    (tmp_path / "toy.py").write_text("raise SystemExit('it was run')\n", encoding="utf-8")
    bundle = read_bundle(path)
    assert site_pictures._clean(bundle) is None


def test_the_command_shows_pictures_of_files_and_folders(board, tmp_path):
    out = tmp_path / "site"

    def run(*pictures):
        told = [part for one in pictures for part in ("--pictures", str(one))]
        return CliRunner().invoke(app, ["site", "build", "--boards", str(board.results), "--out", str(out), *told])

    done = run(board.bundles["none"].parent)
    assert done.exit_code == 0, done.output
    assert "1 board, 2 rows, pictures of 2 rows" in done.stdout
    assert "pictures of 1 row;" in run(board.bundles["blur"]).stdout
    for wrong, why in ((tmp_path / "nothing.zip", "does not exist"), (board.results, "has no zip file")):
        found = run(wrong)
        assert isinstance(found.exception, PurebenchError)
        assert why in str(found.exception)
    damaged = tmp_path / "damaged.zip"
    damaged.write_bytes(board.bundles["none"].read_bytes()[:-7])
    assert "expected a bundle" in str(run(damaged).exception)
    shutil.copyfile(board.bundles["none"], tmp_path / "none.zip")
    done = run(tmp_path)  # in a folder it is left out, so that one bundle does not prevent the site
    assert done.exit_code == 0, done.output
    assert "damaged.zip: expected a bundle" in done.stderr
    assert "pictures of 1 row;" in done.stdout
    assert (out / "index.html").is_file(), "a refused bundle leaves the earlier site"
