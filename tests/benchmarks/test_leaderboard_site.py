"""Tests the synthetic boards behind the measurement of `purebench site build`, at a small size."""

from __future__ import annotations

from purebench.cli.commands.sharing.site_boards import load_source
from purebench.results.ranking.standing import scores_hash


def test_a_small_site_is_built_and_measured(script) -> None:
    seconds, size = script("leaderboard_site").measure(2, 6, 20)
    assert 0 < seconds < 60
    assert 400_000 < size < 2_000_000


def test_the_boards_have_random_and_deterministic_rows_and_their_own_ranks(script, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("purebench.results.files.ranks_file.COMPUTED", 6)
    module = script("leaderboard_site")
    made = module.board("one", 6, 20)
    module.write(tmp_path / "results", made, 1)
    found = load_source(tmp_path / "results")
    assert [row.random for row in found.rows].count(True) == 3
    assert found.standing is not None
    assert found.standing.method == ""  # the stored ranks were read, not computed
    assert len(scores_hash([row.result for row in found.rows])) == 64
