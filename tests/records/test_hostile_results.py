"""Tests that hostile result files are rejected with a message of one line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from typing import Any

import pytest
from refusing import refused

from purebench.results.files.export import load_result, load_results


def change(attack: str, **values: Any) -> Callable[[dict[str, Any]], None]:
    """Returns a function that changes fields of an attack of a result."""

    def apply(result: dict[str, Any]) -> None:
        (found,) = (one for one in result["attacks"] if one["name"] == attack)
        for name, value in values.items():
            found[name] = value(found[name]) if callable(value) else value

    return apply


def top(**values: Any) -> Callable[[dict[str, Any]], None]:
    """Returns a function that changes fields of a result."""
    return lambda result: result.update({k: v(result[k]) if callable(v) else v for k, v in values.items()})


def worst(**values: Any) -> Callable[[dict[str, Any]], None]:
    """Returns a function that changes fields of the worst case of a result."""
    return top(worst_case=lambda found: found | {k: v(found[k]) if callable(v) else v for k, v in values.items()})


def without(*names: str) -> Callable[[dict[str, Any]], None]:
    """Returns a function that removes attacks from a result."""
    return top(attacks=lambda attacks: [attack for attack in attacks if attack["name"] not in names])


NOT_ITS_ATTACK = (
    "worst_case.picked[0]: expected an attack of this result that is robust or misclassified on this image, but got "
)
ANOTHER = {"use": "clean", "gradient": "none", "eot": 3, "only": "all"}


@pytest.mark.parametrize(
    ("apply", "message"),
    [
        (without("apgd"), "expected every attack of the board, but 'apgd' is missing"),
        (
            lambda result: result["board"]["attacks"].update({"x" * 5000: ANOTHER}),
            "every attack of the board, but 'xxx",
        ),
        (top(attacks=lambda attacks: [*attacks, attacks[0]]), "expected each attack once"),
        (change("apgd", draws=lambda draws: [row[:-1] for row in draws]), "attacks.apgd.draws[0]: expected 4"),
        (change("apgd", draws=["1111"] * 8), "contradicts the draws '1111'"),
        (change("apgd", outcomes=["robust"] * 8), "contradicts the draws"),
        (change("apgd", outcomes=lambda given: given[1:]), "attacks.apgd.outcomes: expected one value for each of 8"),
        (change("apgd", outcomes=["errored"] * 8), "expected 0 verification draws of an image that is errored"),
        (
            change("apgd", outcomes=["won"] * 8),
            "attacks[1].outcomes[0]: 'won' is unknown; known: errored, misclassified",
        ),
        (change("apgd", draws=["0120"] * 8), "attacks[1].draws[0]: expected text that matches"),
        (change("apgd", distances=[0.04] * 8), "expected at most the radius"),
        (change("apgd", distances=[-0.01] * 8), "attacks[1].distances[0]: expected a number of at least 0"),
        (change("apgd", eot=1), "attacks.apgd.eot: expected the board's value, 2, but got 1"),
        (change("apgd", gradient="blind"), "attacks.apgd.gradient: expected the board's value, 'exact'"),
        (change("apgd", spec={"name": "apgd", "params": {"steps": 1000}}), "attacks.apgd.spec: expected the board's"),
        (change("transfer", source=None), "attacks.transfer.source: expected the board's"),
        (change("fmn", outcomes=["misclassified"] * 8, draws=["0000"] * 8), "is for deterministic defenses only"),
        (change("apgd", claims=[1]), "attacks.apgd.claims: expected one value for each of 8"),
        (change("apgd", outcome=[]), "attacks[1]: the key 'outcome' is unknown; did you mean 'outcomes'"),
        (change("clean", pictures=lambda given: [{**given[0], "image": 99}]), "expected an image of the result"),
        (change("clean", pictures=lambda given: [{**given[0], "purified": '"><script>'}]), "purified: expected text"),
        (worst(draws=lambda draws: [row[:-1] for row in draws]), "worst_case.draws[0]: expected 32 verification draws"),
        (
            worst(draws=["1" * 32] * 8, outcomes=["misclassified"] * 8),
            "worst_case.outcomes[0]: misclassified contradicts the draws",
        ),
        (worst(outcomes=["errored"] * 8), "worst_case.draws[0]: expected 0 verification draws of an image"),
        (
            worst(outcomes=["errored"] * 8, draws=[""] * 8),
            "worst_case.picked[0]: 'transfer' contradicts the outcome errored",
        ),
        (worst(picked=[None] * 8), "worst_case.picked[0]: None contradicts the outcome"),
        (
            worst(picked=["fmn"] * 8),
            NOT_ITS_ATTACK + "'fmn'",
        ),
        (
            worst(picked=["nobody"] * 8),
            NOT_ITS_ATTACK + "'nobody'",
        ),
        (worst(picked=["apgd"] * 7), "worst_case.picked: expected one value for each of 8 images, but got 7"),
        (worst(distances=[0.04] * 8), "worst_case.distances[0]: expected at most the radius"),
        (worst(forwards=-1), "worst_case.forwards: expected a whole number of at least 0"),
        (worst(picks=[]), "worst_case: the key 'picks' is unknown; did you mean 'picked'"),
        (lambda result: result["worst_case"].pop("picked"), "worst_case: expected the key 'picked'"),
        (lambda result: result.pop("worst_case"), "expected the key 'worst_case', but it is missing"),
        (top(images=[0] * 8), "expected each image once"),
        (top(labels=[0] * 7), "labels: expected one value for each of 8"),
        (top(images=lambda given: given[:7], labels=lambda given: given[:7]), "expected whole blocks of 4"),
        (top(complete=False), "complete: false contradicts 8 of 8 images"),
        (top(name="../outside"), "name: expected a valid file name"),
        (top(random=1), "random: expected true or false, but got 1"),
        (top(schema=2), "expected schema 1, but got 2, which a later version of purebench wrote"),
        (lambda result: result.pop("schema"), "it has none, as in purebench 0.4.0 and before; export it again"),
        (lambda result: result.pop("weights"), "expected the key 'weights', but it is missing"),
        (lambda result: result["board"].pop("confidence"), "board: expected the key 'confidence'"),
        (lambda result: result["board"]["attacks"]["apgd"].pop("only"), "board: expected the key 'only'"),
        (lambda result: result["board"]["threat"].update(radius="8/0"), "threat.radius: expected a number"),
    ],
)
def test_results_inconsistent_with_their_board_are_rejected(
    sample: Any, apply: Callable[[dict[str, Any]], None], message: str
) -> None:
    path = sample.results / "noise.json"
    result = json.loads(path.read_text(encoding="utf-8"))
    assert load_result(path).name == "noise"
    apply(result)
    path.write_text(json.dumps(result), encoding="utf-8")
    refused(lambda: load_result(path), message)
    refused(lambda: load_results(sample.results), "noise.json")


def test_two_result_files_of_the_same_row_are_rejected(sample: Any) -> None:
    shutil.copy(sample.results / "none.json", sample.results / "other.json")
    refused(lambda: load_results(sample.results), "other.json: expected the result of 'other', but it is of 'none'")
    assert load_result(sample.results / "other.json").name == "none"  # a file that is read alone may have any name


def test_invalid_timings_are_rejected(sample: Any) -> None:
    for text in ("[]", '{"none": 1}', '{"none": {"clean": {"attack": "1"}}}', "{", '{"none": {}, "none": {}}'):
        (sample.results / "timings.json").write_text(text, encoding="utf-8")
        refused(lambda: load_results(sample.results), "expected timings by defense")
