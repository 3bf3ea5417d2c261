"""Tests that tables and sentences of docs/findings.md are those of the committed results."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from purebench.core.warning_codes import WarningCode
from purebench.leaderboards.figures_text import known
from purebench.report import Report
from purebench.results.files.export import load_results
from purebench.results.grading.evidence import ConvergenceStatus
from purebench.results.ranking.comparisons import Pair
from purebench.statistics import robust_per_image

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"


@pytest.fixture(scope="module")
def linf(findings: ModuleType) -> Report:
    found = findings.report_of("fashion-linf")
    assert isinstance(found, Report)
    return found


def test_the_tables_are_those_of_the_committed_results(findings: ModuleType) -> None:
    page = findings.PAGE.read_text(encoding="utf-8")
    parts = {(mark["board"], mark["part"]) for mark in findings.MARK.finditer(page)}
    of_linf = {("fashion-linf", part) for part in findings.TABLES}
    others = {(board, part) for board in ("fashion-families", "cifar10-small") for part in ("rows", "pairs")}
    assert parts == of_linf | others
    assert findings.written(page) == page


def test_a_changed_number_is_found(findings: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = findings.PAGE.read_text(encoding="utf-8")
    changed = tmp_path / "findings.md"
    changed.write_text(page.replace("| `diffpure-ddpm` | **", "| `diffpure-ddpm` | **9", 1), encoding="utf-8")
    monkeypatch.setattr(findings, "PAGE", changed)
    assert findings.main(["--check"]) == 1
    assert findings.main([]) == 0
    assert findings.main(["--check"]) == 0
    assert changed.read_text(encoding="utf-8") == page


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("<!-- end -->", ""),
        ("table fashion-linf rows", "table fashion-linf row"),
        ("table fashion-linf rows", "table fashion-inf rows"),
        ("table fashion-linf rows", "table rows"),
    ],
)
def test_a_wrong_mark_is_refused(findings: ModuleType, before: str, after: str) -> None:
    page = findings.PAGE.read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="expected"):
        findings.written(page.replace(before, after, 1))


def test_families_are_those_of_registered_names(findings: ModuleType) -> None:
    found = {row.name: findings.family(row.result) for row in findings.report_of("fashion-families").rows}
    expected = {"nvae-cosine": "MLVGM", "nd-vae-released": "VAE", "trades": "adversarial training", "gdmp": "diffusion"}
    assert {name: found[name] for name in expected} == expected
    assert (found["none"], found["trades-vae"]) == ("no defense", "combination")


def test_defenses_that_were_not_run_are_named(findings: ModuleType) -> None:
    assert findings.rows_table(findings.report_of("fashion-families")).endswith("Not run: `defense-gan`.")


def test_the_answers_on_knowledge_follow_from_the_results(
    findings: ModuleType, linf: Report, findings_text: str
) -> None:
    lost, share = {}, {}
    for row in linf.rows:
        (blind,) = (cell.estimate.value for cell in row.cells if cell.attack == findings.BLIND and cell.estimate)
        assert row.robust is not None
        lost[row.name] = 100 * (blind - row.robust.value)
        share[row.name] = lost[row.name] / blind if blind else 0.0
    ours = [row.name for row in linf.rows if findings.family(row.result) == findings.MLVGM]
    points = [lost[name] for name in ours]
    assert f"{min(points):.0f} to {max(points):.0f} points, which are" in findings_text
    shares = [share[name] for name in ours]
    assert f"which are {min(shares):.0f} to {max(shares):.0f} % of it" in findings_text
    diffusion = [share[f"diffpure-{one}"] for one in ("ddpm", "ddim")]
    assert (
        f"{share['vae']:.0f} % of that of the plain VAE, but {min(diffusion):.0f} and {max(diffusion):.0f} %"
        in findings_text
    )
    alone = {row.name: {cell.attack: cell.estimate for cell in row.cells} for row in linf.rows}
    assert f"leaves {100 * alone['vae']['square'].value:.0f} % of the plain VAE" in findings_text
    assert f"leave {100 * alone['stylegan-cosine']['transfer'].value:.0f} % of `stylegan-cosine`" in findings_text
    further = {}
    for row in linf.rows:
        used = [one for one in row.result.attacks if one.name in findings.UNAWARE and not one.skipped]
        picked = robust_per_image(np.stack([row.result.right(one) for one in used])).mean()
        further[row.name] = 100 * (picked - row.robust.value)
    least, most = (bound(further[name] for name in ours) for bound in (min, max))
    less, more = sorted(further[f"diffpure-{one}"] for one in ("ddpm", "ddim"))
    told = f"{least:.0f} to {most:.0f} points more than all attacks on MLVGMs, {further['vae']:.0f} on the plain VAE"
    assert f"{told}, and {less:.0f} and {more:.0f} on DiffPure" in findings_text


def test_what_is_said_of_the_limits_of_ladder_and_square_follows_from_the_results(
    findings: ModuleType, linf: Report, findings_text: str
) -> None:
    rows = [linf["diffpure-ddpm"], linf["diffpure-ddim"]]

    def left(*names: str) -> str:
        return " and ".join(f"{100 * findings.lowest(row, names).value:.1f}" for row in rows)

    assert f"one draw leaves {left(findings.SQUARE)} % of the two DiffPure rows" in findings_text
    assert f"through transfer ({left(*findings.TRANSFERRED)} %)" in findings_text
    ladders = [result for row in rows for result in linf.companions["effort"] if result.name == row.name]
    noise = [next(attack for attack in one.attacks if attack.name == "random-noise") for one in ladders]
    told = [100 * one.right(attack).mean() for one, attack in zip(ladders, noise, strict=True)]
    assert f"one random perturbation ({told[0]:.1f} and {told[1]:.1f} %)" in findings_text
    spent = {attack.name: attack.backwards / len(rows[0].result.images) for attack in rows[0].result.attacks}
    told = f"compute {spent['surrogate']:.0f} and {spent['apgd-targets']:.0f} gradients per image of `diffpure-ddpm`"
    assert told in findings_text
    assert f"as strong is `surrogate` ({left('surrogate')} %)" in findings_text
    every = {result.name: result for result in linf.companions["effort"]}
    falls = []
    for row in linf.rows:
        rungs = [one for one in every[row.name].attacks if one.name.startswith("rung-")]
        second, last = (every[row.name].right(rungs[place]).mean() for place in (1, -1))
        falls.append(100 * (second - last))
    assert f"falls by at most {max(falls):.1f} points" in findings_text
    away = min(
        findings.lowest(row, findings.TRANSFERRED).value - row.robust.value for row in rows if row.robust is not None
    )
    assert f"hid more than about {100 * away:.0f} points" in findings_text


def test_the_answers_on_families_follow_from_the_results(
    findings: ModuleType, linf: Report, findings_text: str
) -> None:
    families = {row.name: findings.family(row.result) for row in linf.rows}
    pairs = findings.pairs_of(linf)

    def between(one: str, other: str) -> list[Pair]:
        return [pair for pair in pairs if (families[pair.a], families[pair.b]) == (one, other)]

    below = between(findings.MLVGM, findings.DIFFUSION)
    assert all(pair.apart for pair in below)
    least = max((pair.found.difference for pair in below), key=lambda one: one.value)
    assert (
        f"by {-100 * least.value:.0f} [{-100 * least.high:.0f}, {-100 * least.low:.0f}] points or more" in findings_text
    )
    against = {pair.a: pair for pair in between(findings.MLVGM, findings.VAE)}
    assert [name for name, pair in against.items() if pair.apart] == ["nvae-cosine"]
    told = findings.points(against["nvae-cosine"].found.difference)
    assert f"({told.replace(' [', ' points [')})" in findings_text
    assert f"up to {100 * against['stylegan-cosine'].found.difference.high:.0f} points above it" in findings_text
    assert [families[row.name] for row in linf.rows[:2]] == [findings.TRAINED] * 2
    trained = between(findings.DIFFUSION, findings.TRAINED)
    assert all(pair.apart for pair in trained)
    apart = sorted(-100 * pair.found.difference.value for pair in trained)
    assert f"{apart[0]:.0f} to {apart[-1]:.0f} points above DiffPure" in findings_text


def test_the_answers_on_randomness_follow_from_the_results(
    findings: ModuleType, linf: Report, findings_text: str
) -> None:
    gaps = {row.name: one.gap for row in linf.rows for one in known(row.result)}
    diffusion = sorted(100 * gaps[f"diffpure-{one}"].value for one in ("ddpm", "ddim"))
    assert f"by a further {diffusion[0]:.0f} and {diffusion[1]:.0f} points" in findings_text
    assert all(gaps[f"diffpure-{one}"].low > 0 for one in ("ddpm", "ddim"))
    ours = [row.name for row in linf.rows if findings.family(row.result) == findings.MLVGM]
    assert all(gaps[name].low <= 0 for name in ours)


def test_rows_whose_known_randomness_was_not_optimised_to_the_end_are_named(linf: Report, findings_text: str) -> None:
    above = [f"`{row.name}`" for row in linf.rows for one in known(row.result) if one.not_optimised]
    assert f"on {' and '.join(above)}, where it is above *all attacks*, this attack was not optimised" in findings_text


def significant(pairs: list[Pair]) -> set[tuple[str, str]]:
    return {(pair.a, pair.b) for pair in pairs if pair.apart}


def test_what_is_said_of_the_vaes_follows_from_the_results(findings: ModuleType) -> None:
    report = findings.report_of("fashion-families")
    families = {row.name: findings.family(row.result) for row in report.rows}
    best = ("nd-vae-released", "nd-vae")
    those = [pair for pair in findings.pairs_of(report) if families[pair.a] == findings.MLVGM and pair.b in best]
    assert all(pair.found.difference.value < 0 for pair in those)
    ours = {name for name in families if families[name] == findings.MLVGM} - {"stylegan-cosine"}
    assert significant(those) == {(name, other) for name in ours for other in best}


def test_what_is_said_of_longer_attacks_follows_from_their_results(findings: ModuleType, findings_text: str) -> None:
    report = findings.report_of("fashion-families")
    longer = {result.name: result for result in load_results(RESULTS / "families-longer")}
    told = {name: f"{100 * result.robust.value:.1f} %" for name, result in longer.items()}
    names = ("quantise", "defense-vae", "vae", "puvae")
    assert f"leave {', '.join(f'{told[name]} of `{name}`' for name in names)}" in findings_text
    assert f"and {told['trades-vae']} of `trades-vae` as above" in findings_text
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    for name in ("quantise", "defense-vae"):
        short = 100 * report[name].robust.value
        assert f"{told[name].removesuffix(' %')} instead of {short:.1f} % of `{name}`" in readme
    replaced = replace(report, results=tuple(longer.get(one.name, one) for one in report.results))
    before, after = (significant(findings.pairs_of(one)) for one in (report, replaced))
    families = {row.name: findings.family(row.result) for row in report.rows}
    lost = {pair for pair in before if pair[1] == "defense-vae" and families[pair[0]] == findings.MLVGM}
    assert lost
    assert before - after == lost
    assert after <= before


def test_what_is_said_of_grades_and_warnings_follows_from_the_results(linf: Report, findings_text: str) -> None:
    assert {str(grade.letter) for grade in linf.grades.values()} == {"C"}
    assert all(len(row.result.images) < 200 and not row.warnings for row in linf.rows)
    found = {name: one.status for name, one in linf.evidence.convergence.items()}
    assert found.keys() == {row.result.name for row in linf.rows}
    names = findings_text.partition("[converged](convergence.md) on ")[2].partition(". On")[0]
    told = re.findall("`(.*?)`", names)
    assert set(told) == {name for name, status in found.items() if status is ConvergenceStatus.CONVERGED}
    assert {status for name, status in found.items() if name not in told} == {ConvergenceStatus.UNDECIDED}
    assert len(found) - len(told) == 9
    assert "On the other nine rows 100 images do not decide it" in findings_text


def test_what_is_said_of_controls_follows_from_the_results(
    findings: ModuleType, linf: Report, findings_text: str
) -> None:
    excess = {score.name: score.excess for score in linf.evidence.controls}
    assert [score.name for score in linf.evidence.controls if score.recovery == "missed"] == ["one-hot", "quantised"]
    most = excess.pop("decoy-noise")
    told = findings.points(most).removeprefix("+").replace("+", "").replace(" [", " points [")
    assert f"`decoy-noise` is measured {told} above its known truth" in findings_text
    others = [excess[name].value for name in ("linear-noise", "conflict", "coin")]
    assert f"by at most {100 * max(others):.1f}." in findings_text


def test_what_is_said_of_the_families_board_follows_from_the_results(findings: ModuleType, linf: Report) -> None:
    report = findings.report_of("fashion-families")
    assert (len(report.board.defenses), len(report.board.controls)) == (28, 0)
    assert set(report.results[0].images) < set(linf.results[0].images)
    alone = {row.name: {cell.attack: cell.estimate for cell in row.cells} for row in report.rows}
    assert all(alone[name]["apgd-exact"].value > alone[name]["apgd-bpda"].value for name in ("quantise", "puvae"))
    zero = [warning for attack in report["quantise"].result.attacks for warning in attack.warnings]
    assert WarningCode.ZERO_GRADIENT in {warning.code for warning in zero}


def test_what_is_said_of_the_guideline_follows_from_its_results(linf: Report, findings_text: str) -> None:
    files = {
        path.stem.removeprefix("guideline-"): json.loads(path.read_text("utf-8"))
        for path in RESULTS.glob("guideline-*")
    }
    compared = [
        rows[2]["difference"]
        for one in files.values()
        for name, rows in one["tables"].items()
        if name.endswith(" images")
    ]
    assert len(compared) == len(files)
    most = max(float(text.rpartition(", ")[2].rstrip("]")) for text in compared)
    number = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")[len(files)]
    assert f"at most {most:.1f} points more (upper end of a 90 % interval) on each of {number} rows" in findings_text
    left = sorted(f"`{row.name}`" for row in linf.rows if row.result.random and row.name not in files)
    assert sorted(findings_text.partition("Not compared: ")[2].partition(".")[0].split(", ")) == left


def test_what_is_said_of_the_plain_pgd_follows_from_its_results(findings_text: str) -> None:
    found = json.loads((RESULTS / "suites-fashion-quick.json").read_text(encoding="utf-8"))
    (told,) = (row["difference"] for row in found["tables"]["diffpure-ddpm: 48 images"] if "plain-pgd" in row["name"])
    assert f"a plain PGD left {told.split()[0].lstrip('+')} points less of `diffpure-ddpm`" in findings_text
