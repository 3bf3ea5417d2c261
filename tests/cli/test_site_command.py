"""Tests `purebench site`: which boards are found, cards of defenses, the printed line, the local server."""

import html
import shutil
import threading
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from purebench.boards.bundled import bundled
from purebench.cli.commands.sharing.site_boards import load_source, results_folders
from purebench.cli.commands.sharing.site_cards import catalogue, entries
from purebench.cli.main import app
from purebench.cli.output.result_files import from_results
from purebench.core.errors import PurebenchError
from purebench.leaderboards.site.serve import site_server
from purebench.results.files.export import export_results

from synthetic import make_results  # isort: skip

SHIPPED = {name: path.parent / "results" for name, path in bundled().items() if (path.parent / "results").is_dir()}


@pytest.fixture
def exported(tmp_path):
    """A folder with two boards, as a leaderboard repository has them: boards/NAME/results."""
    for name in ("one", "two"):
        given = {"plain": {"clean": ["1"] * 20, "apgd": ["0"] * 20}, "other": {"clean": ["1"] * 20, "apgd": ["1"] * 20}}
        _, _, results = make_results(given, name=name)
        results = [replace(result, spec={"name": "vae", "params": {}}) for result in results]
        export_results(tmp_path / "boards" / name / "results", results)
    return tmp_path / "boards"


def test_boards_are_found_by_name_by_folder_and_below_a_folder(exported):
    assert results_folders([]) == list(SHIPPED.values())
    assert results_folders(["fashion-quick"]) == [SHIPPED["fashion-quick"]]
    both = [exported / "one" / "results", exported / "two" / "results"]
    assert results_folders([str(exported)]) == both
    assert results_folders([str(exported / "one")]) == both[:1]
    assert results_folders([str(both[1]), str(exported)]) == [both[1], both[0]]


def test_folders_of_results_may_lie_below_a_folder_without_sub_folders_results(exported, tmp_path):
    """As `purebench run BOARD --results results/BOARD` writes them."""
    for name in ("one", "two"):
        shutil.copytree(exported / name / "results", tmp_path / "results" / name)
        (tmp_path / "results" / name / "verdicts").mkdir()
    both = [tmp_path / "results" / "one", tmp_path / "results" / "two"]
    assert results_folders([str(tmp_path / "results")]) == both


def test_a_schema_beside_boards_is_no_result(exported):
    (exported / "board.schema.json").write_text("{}", encoding="utf-8")
    assert results_folders([str(exported)]) == [exported / "one" / "results", exported / "two" / "results"]


def test_title_and_description_come_from_the_board_file_beside_the_results(exported, monkeypatch):
    plain, _ = from_results(exported / "one" / "results")
    about = plain.to_dict() | {"title": "A title of ours", "about": "What it is for."}
    (exported / "one" / "board.yaml").write_text(yaml.safe_dump(about), encoding="utf-8")
    board = load_source(exported / "one" / "results").board
    assert (board.title, board.about) == ("A title of ours", "What it is for.")
    monkeypatch.chdir(exported / "one")
    assert from_results(Path("results"))[0].title == "A title of ours"

    (exported / "one" / "board.yaml").write_text(yaml.safe_dump(about | {"name": "other"}), encoding="utf-8")
    assert from_results(Path("results"))[0].title == plain.title


def test_what_is_no_board_is_refused_with_a_hint(tmp_path):
    with pytest.raises(PurebenchError, match="it is no folder"):
        results_folders([str(tmp_path / "nothing")])
    with pytest.raises(PurebenchError, match="fashion-quick"):
        results_folders(["fashion-quik"])
    with pytest.raises(PurebenchError, match="has no results"):
        results_folders([str(tmp_path)])


def test_build_writes_a_site_and_says_where(exported, tmp_path):
    out = tmp_path / "site"
    done = CliRunner().invoke(app, ["site", "build", "--boards", str(exported), "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "2 boards, 4 rows" in done.stdout
    assert (out / "boards" / "one.html").is_file()
    assert not (out / "changes.html").exists()


def test_ranks_that_were_not_computed_are_named_on_the_site_and_by_the_command(exported, tmp_path, monkeypatch):
    monkeypatch.setattr("purebench.results.files.ranks_file.COMPUTED", 2)

    def built(*options):
        out = tmp_path / "site"
        asked = ["site", "build", "--boards", str(exported / "one"), "--out", str(out), *options]
        done = CliRunner().invoke(app, asked)
        assert done.exit_code == 0, done.output
        page = (out / "data" / "one.js").read_text(encoding="utf-8")
        return done.output, page, (out / "index.html").read_text(encoding="utf-8")

    output, page, index = built()
    assert "one: ranks: those of ranks.json, not computed again" in " ".join(output.split())
    assert page.count("not computed again") == 2
    assert "ranks not computed again" in index
    assert not any("not computed again" in told for told in built("--compute-ranks"))
    monkeypatch.undo()
    assert not any("not computed again" in told for told in built())


def test_cards_come_from_declarations_papers_and_cards_yaml(exported):
    (exported / "one" / "cards.yaml").write_text(
        "plain: {venue: NeurIPS 2031, year: 2031, code: 'https://example.org/code', extra_data: true}\n",
        encoding="utf-8",
    )
    sources = [load_source(folder) for folder in results_folders([str(exported)])]
    found = catalogue(sources)
    rows = {
        (source.board.name, row.name): found.card(source.board.name, row) for source in sources for row in source.rows
    }
    declared = rows["two", "plain"]
    assert (declared.family, declared.licence, declared.year, declared.extra_data) == ("vae", "MIT", "2014", "no")
    assert declared.title == "Auto-Encoding Variational Bayes"
    assert declared.url == "https://arxiv.org/abs/1312.6114"
    own = rows["one", "plain"]
    assert (own.venue, own.year, own.code, own.extra_data) == (
        "NeurIPS 2031",
        "2031",
        "https://example.org/code",
        "yes",
    )
    assert own.licence == "MIT"
    assert "eprint = {1312.6114}" in found.bibtex(["vae"])


ENTRY = {"schema": 1, "board": "one", "row": "plain", "bundle": f"sha256:{'0' * 64}", "title": "My <b>VAE</b>"}
ENTRY |= {
    "authors": ["A. <i>One</i>", "B. Two"],
    "code": "https://example.org/code",
    "note": "<script>alert(1)</script>",
}


def write_entry(exported, **changes):
    place = exported / "one" / "entries" / "plain.yaml"
    place.parent.mkdir()
    place.write_text(yaml.safe_dump(ENTRY | changes), encoding="utf-8")


def test_what_a_submission_declares_is_on_its_card_and_escaped(exported, tmp_path):
    write_entry(exported)
    (exported / "one" / "cards.yaml").write_text("plain: {family: diffusion}", encoding="utf-8")
    source = load_source(exported / "one" / "results")
    card = {row.name: catalogue([source]).card("one", row) for row in source.rows}["plain"]
    assert (card.title, card.paper, card.code) == ("My <b>VAE</b>", "A. <i>One</i>, B. Two", "https://example.org/code")
    assert card.family == "diffusion"
    assert card.licence == "MIT", "the submission does not state one, so that of the registered defense is shown"
    assert (card.venue, card.year, card.url) == ("", "", ""), "those of the declared paper are not of this title"

    out = tmp_path / "site"
    done = CliRunner().invoke(app, ["site", "build", "--boards", str(exported / "one"), "--out", str(out)])
    assert done.exit_code == 0, done.output
    (page,) = (out / "defenses").glob("*.html")
    shown = page.read_text(encoding="utf-8")
    for text in ("My <b>VAE</b>", "A. <i>One</i>, B. Two", "<script>alert(1)</script>"):
        assert text not in shown
        assert html.escape(text) in shown
    assert 'href="https://example.org/code"' in shown


def test_cards_yaml_takes_precedence_over_a_submission(exported):
    write_entry(exported)
    (exported / "one" / "cards.yaml").write_text("plain: {title: Corrected, year: 2030}", encoding="utf-8")
    source = load_source(exported / "one" / "results")
    card = {row.name: catalogue([source]).card("one", row) for row in source.rows}["plain"]
    assert (card.title, card.year, card.paper) == ("Corrected", "2030", "A. <i>One</i>, B. Two")


@pytest.mark.parametrize("changes", [{"row": "other"}, {"board": "two"}, {"code": "javascript:alert(1)"}], ids=str)
def test_the_entry_of_another_row_or_a_wrong_one_is_refused_with_its_path(exported, changes):
    write_entry(exported, **changes)
    with pytest.raises(PurebenchError, match=r"entries/plain\.yaml"):
        catalogue([load_source(exported / "one" / "results")])


@pytest.mark.parametrize(
    "text",
    [
        "plain: {code: 'javascript:alert(1)'}",
        "plain: {yeer: 2020}",
        "plain: {year: soon}",
        "- plain",
        "plain: {venue: ''}",
    ],
)
def test_a_wrong_cards_yaml_is_refused_with_its_path(tmp_path, text):
    path = tmp_path / "cards.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(PurebenchError, match=r"cards\.yaml"):
        entries(path)


def test_our_own_cards_name_registered_defenses():
    from importlib.resources import files

    from purebench.cli.declaration import own

    assert set(entries(Path(str(files("purebench.defenses"))) / "cards.yaml")) <= set(own())


def test_a_site_is_served_on_this_machine_only(tmp_path):
    (tmp_path / "index.html").write_text("hello", encoding="utf-8")
    with site_server(tmp_path, 0) as server:
        host, port = server.server_address
        assert host == "127.0.0.1"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/index.html") as answer:
            assert answer.read() == b"hello"
        with pytest.raises(PurebenchError, match="choose another"):
            site_server(tmp_path, port)
        server.shutdown()


def test_a_folder_without_a_site_is_not_served(tmp_path):
    with pytest.raises(PurebenchError, match="site build"):
        site_server(tmp_path, 0)


def test_building_a_site_does_not_import_torch(exported, tmp_path):
    import subprocess
    import sys

    code = (
        "import sys; from purebench.cli.main import app; "
        f"app({['site', 'build', '--boards', str(exported), '--out', str(tmp_path / 's')]!r}, standalone_mode=False); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
