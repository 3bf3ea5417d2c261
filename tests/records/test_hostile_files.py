"""Files that anybody may have written: one sentence, in bounded time and memory, and no traceback."""

from __future__ import annotations

import importlib
import json
import shutil
import sqlite3
import sys
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from time import process_time
from types import ModuleType
from typing import Any

import pytest
import yaml

from purebench.boards.parse import load_board, parse_board
from purebench.core.errors import PurebenchError
from purebench.core.files.strict_json import load_json
from purebench.core.files.strict_yaml import load_yaml
from purebench.core.files.text import shown
from purebench.records import store
from purebench.records.record import Record
from purebench.results.export import load_result, load_results
from purebench.results.merge import merge
from purebench.results.stored_board import from_store

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def hostile() -> ModuleType:
    """benchmarks/hostile_files.py, which makes the mutations."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        return importlib.import_module("hostile_files")
    finally:
        sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="module")
def intact(hostile: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An intact board, folder of results and store, which stay as they are."""
    return hostile.make_sample(tmp_path_factory.mktemp("intact"))


@pytest.fixture
def sample(hostile: ModuleType, intact: Any, tmp_path: Path) -> Any:
    """A copy of the intact files, to be damaged."""
    return hostile.Sample(Path(shutil.copytree(intact.folder, tmp_path / "sample")))


@pytest.mark.parametrize(("kind", "count"), [("boards", 200), ("results", 200), ("stores", 50)])
def test_mutated_files_give_one_line(hostile: ModuleType, intact: Any, kind: str, count: int) -> None:
    """The full number is `python benchmarks/hostile_files.py`."""
    found = hostile.fuzz(kind, count, 1, intact)
    assert found.faults == []
    assert found.read > count / 20  # some mutations do no harm
    assert found.refused > count / 2


@pytest.mark.slow
def test_many_more_mutated_files_give_one_line(hostile: ModuleType, intact: Any) -> None:
    for kind, count in (("boards", 2000), ("results", 2000), ("stores", 500)):
        assert hostile.fuzz(kind, count, 2, intact).faults == []


def refused(read: Callable[[], object], told: str) -> None:
    """Reading is refused with one short line that says this, at once and in little memory."""
    before, began = getrusage(RUSAGE_SELF).ru_maxrss, process_time()
    with pytest.raises(PurebenchError) as caught:
        read()
    assert process_time() - began < 5
    assert getrusage(RUSAGE_SELF).ru_maxrss - before < 300 * 1024
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 700


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("cascade: false", "cascade: false\nseed: 1", "line 10: the key 'seed' comes twice (first in line 8)"),
        ("  apgd:", "  clean:", "line 13: the key 'clean' comes twice (first in line 12)"),
        ("use: fashion-mnist", "use: fashion-mnist, use: cifar10", "line 4: the key 'use' comes twice"),
        ("images: 8", "images: " + "9" * 5000, "line 4: expected numbers of at most 40 characters, but got 5000"),
        ("images: 8", "images: " + "9" * 30, "line 4: expected whole numbers below 2^63"),
        ("images: 8", "images: 0x" + "f" * 5000, "line 4: expected numbers of at most 40"),
        ("images: 8", "images: 4:8", "dataset.images: expected a whole number, but got '4:8'"),
        ("images: 8", "images: 10000001", "dataset.images: expected a whole number of at most 10000000"),
        ("images: 8, block: 4", "images: 10000000, block: 1", "at most 1,000,000 jobs"),
        ("images: 8, block: 4", "images: 400000, block: 1", "defenses), but these are 1,200,000"),  # of two attacks
        ("draws: 4", "draws: 1000000000000", "verify.draws: expected a whole number of at most 10000"),
        ("draws: 4", "draws: 10**12", "verify.draws: expected a whole number, but got '10**12'"),
        ("name: hostile", "name: 2020-13-45", "line 1: '2020-13-45' reads as a date; put it in quotes"),
        ("name: hostile", "name: " + "a" * 101, "has 101 characters; at most 100 are possible"),
        ("seed: 0", "seed: true", "seed: expected a whole number, but got True"),
        ("confidence: 0.95", "confidence: .nan", "line 7: expected finite numbers"),
        ("radius: 8/255", "radius: .inf", "line 6: expected finite numbers"),
        ("radius: 8/255", "radius: 1e999999999", "threat.radius: expected a number or a fraction"),
        ("radius: 8/255", "radius: true", "threat.radius: expected a number or a fraction"),
        ("apgd(steps=3)", "apgd(steps=" + "-" * 1900 + "1)", "attacks.apgd.use: expected key=value arguments"),
        ("apgd(steps=3)", "a" * 900_000, "attacks.apgd.use: expected at most 2,000 characters"),
        ("title: Damaged", "title: " + "x" * 900_000, "title: expected at most 20,000 characters"),
        ("none: none", "timings: none", "'timings' is a file of purebench's own in a folder of results"),
        ("none: none", "off: none", "line 15: expected text as a key, but got False"),
        ("none: none", "none: !!python/object/apply:os.getcwd []", "line 15: expected plain values, but got the tag"),
        ("name: hostile", "schema: 2\nname: hostile", "expected schema 1, but got 2, of a later purebench"),
        ("name: hostile", "name: hostile\n---\nname: other", "line 2: expected one document"),
    ],
)
def test_hostile_boards_are_refused(tmp_path: Path, old: str, new: str, told: str) -> None:
    text = """name: hostile
title: Damaged
about: none
dataset: {use: fashion-mnist, images: 8, block: 4}
classifier: fashion-resnet
threat: {norm: linf, radius: 8/255}
confidence: 0.95
seed: 0
cascade: false
verify: {draws: 4}
attacks:
  clean: {use: clean}
  apgd: {use: apgd(steps=3), gradient: exact}
defenses:
  none: none
"""
    path = tmp_path / "board.yaml"
    path.write_text(text, encoding="utf-8")
    assert load_board(path).name == "hostile"
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    refused(lambda: load_board(path), told)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (BOMB.encode(), "expected at most 20,000 values"),
        (b"a: &a [*a]", "refers to nothing above"),
        (b"[" * 500_000, "YAML"),
        (b"a: " + b"{a: " * 60 + b"1" + b"}" * 60, "expected at most 50 levels"),
        (b"\n".join(b"k%d: 1" % number for number in range(60_000)), "expected at most 20,000 values"),
        (b"x" * (2**20 + 1), "expected at most 1 MiB"),
        (b"\x00\x01\x02", "YAML"),
        (b"\x80", "expected UTF-8 text"),
        ("name: a".encode("utf-16"), "it is UTF-16"),
        (b"", "board: expected a mapping with"),
    ],
)
def test_files_that_are_no_boards_are_refused(tmp_path: Path, data: bytes, told: str) -> None:
    path = tmp_path / "board.yaml"
    path.write_bytes(data)
    refused(lambda: load_board(path), told)


def test_a_byte_order_mark_anchors_and_merges_are_read(sample: Any) -> None:
    board = load_board(sample.boards)
    sample.boards.write_bytes(b"\xef\xbb\xbf" + sample.boards.read_bytes())
    assert load_board(sample.boards) == board
    text = "a: &a {x: 1, y: [2, 3]}\nb: {<<: *a, x: 4}\nc: *a\nd: {<<: [{x: 5}, *a]}"
    assert load_yaml(text) == yaml.safe_load(text)


@pytest.mark.parametrize(
    "text", ["a: yes\nb: 0x1f\nc: 1_000\nd: 1.5e+3\ne: ~\nf: 'no'\ng: |\n  two\n  lines", "- 1", "x"]
)
def test_plain_values_are_those_of_yaml(text: str) -> None:
    assert load_yaml(text) == yaml.safe_load(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"a": 1, "a": 2}', "'a' comes twice"),
        ('{"a": NaN}', "expected finite numbers, but got NaN"),
        ('{"a": ' + "9" * 5000 + "}", "too many digits"),
        ("[" * 100_000, "nested too deeply"),
        ("[" + "[]," * 4_000_001, "expected at most 4,000,000 values"),
        ("{" + ",".join(f'"{number}": 1' for number in range(10_001)) + "}", "at most 10,000 keys"),
        ("{", "expected JSON"),
    ],
)
def test_json_that_is_hostile_is_refused(text: str, told: str) -> None:
    refused(lambda: load_json(text), told)


def test_a_value_in_a_message_is_short() -> None:
    for value in ("x" * 10**6, ["x" * 1000] * 1000, 10**6000, {str(number): number for number in range(1000)}):
        assert len(shown(value)) <= 200
    assert shown("\x1b[31m\ud800") == r"'\x1b[31m\ud800'"  # no control character, and printable


def change(attack: str, **values: Any) -> Callable[[dict[str, Any]], None]:
    """Changes a result's attack."""

    def apply(result: dict[str, Any]) -> None:
        (found,) = (one for one in result["attacks"] if one["name"] == attack)
        for name, value in values.items():
            found[name] = value(found[name]) if callable(value) else value

    return apply


def top(**values: Any) -> Callable[[dict[str, Any]], None]:
    """Changes a result."""
    return lambda result: result.update({k: v(result[k]) if callable(v) else v for k, v in values.items()})


def worst(**values: Any) -> Callable[[dict[str, Any]], None]:
    """Changes what a result's worst-case job picked and scored."""
    return top(worst_case=lambda found: found | {k: v(found[k]) if callable(v) else v for k, v in values.items()})


def without(*names: str) -> Callable[[dict[str, Any]], None]:
    """Leaves out attacks of a result."""
    return top(attacks=lambda attacks: [attack for attack in attacks if attack["name"] not in names])


ANOTHER = {"use": "clean", "gradient": "none", "eot": 3, "only": "all"}


@pytest.mark.parametrize(
    ("apply", "told"),
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
        (change("apgd", eot=1), "attacks.apgd.eot: expected the board's, 2, but got 1"),
        (change("apgd", gradient="blind"), "attacks.apgd.gradient: expected the board's, 'exact'"),
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
        (worst(picked=["fmn"] * 8), "worst_case.picked[0]: expected an attack that answered, but got 'fmn'"),
        (worst(picked=["nobody"] * 8), "worst_case.picked[0]: expected an attack that answered, but got 'nobody'"),
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
        (top(name="../outside"), "name: expected a name"),
        (top(random=1), "random: expected true or false, but got 1"),
        (top(schema=2), "expected schema 1, but got 2, of a later purebench"),
        (lambda result: result.pop("schema"), "it has none, as in purebench 0.4.0 and before; export it again"),
        (lambda result: result.pop("weights"), "expected the key 'weights', but it is missing"),
        (lambda result: result["board"].pop("confidence"), "board: expected the key 'confidence'"),
        (lambda result: result["board"]["attacks"]["apgd"].pop("only"), "board: expected the key 'only'"),
        (lambda result: result["board"]["threat"].update(radius="8/0"), "threat.radius: expected a number"),
    ],
)
def test_results_that_contradict_their_board_are_refused(
    sample: Any, apply: Callable[[dict[str, Any]], None], told: str
) -> None:
    path = sample.results / "noise.json"
    result = json.loads(path.read_text(encoding="utf-8"))
    assert load_result(path).name == "noise"
    apply(result)
    path.write_text(json.dumps(result), encoding="utf-8")
    refused(lambda: load_result(path), told)
    refused(lambda: load_results(sample.results), "noise.json")


def test_two_files_of_one_row_are_refused(sample: Any) -> None:
    shutil.copy(sample.results / "none.json", sample.results / "other.json")
    refused(lambda: load_results(sample.results), "other.json: expected the result of 'other', but it is of 'none'")
    assert load_result(sample.results / "other.json").name == "none"  # one file by itself may have any name


def test_timings_that_are_none_are_told(sample: Any) -> None:
    for text in ("[]", '{"none": 1}', '{"none": {"clean": {"attack": "1"}}}', "{", '{"none": {}, "none": {}}'):
        (sample.results / "timings.json").write_text(text, encoding="utf-8")
        refused(lambda: load_results(sample.results), "expected timings by defense")


PICKS = "WHERE json ->> '$.attack' = 'worst-case'"


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("PRAGMA user_version = 2", "expected a store of schema 1, but got 2"),
        ("PRAGMA user_version = 0", "is of purebench 0.4.0 or before"),
        ("DROP TABLE plans", "its tables are others"),
        ("ALTER TABLE records ADD COLUMN more TEXT", "its tables are others"),
        (
            "CREATE VIEW endless AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n",
            "its",
        ),
        ("CREATE TRIGGER gone AFTER INSERT ON records BEGIN DELETE FROM records; END", "its tables are others"),
        ("UPDATE plans SET json = '[]'", "expected the plan of a board"),
        ("UPDATE plans SET json = '{}'", "expected schema 1"),
        ("UPDATE plans SET keys = '{}'", "expected the keys of a plan"),
        ("UPDATE records SET json = '{}'", "is damaged: expected schema 1"),
        ("UPDATE records SET json = replace(json, '\"schema\": 1', '\"schema\": 2')", "of a later purebench"),
        ("UPDATE records SET json = replace(json, 'robust', 'misclassified')", "contradicts the draws"),
        (
            f"UPDATE records SET json = json_set(json, '$.picked[0]', 'nobody') {PICKS}",
            "picked[0]: expected an attack that",
        ),
        (
            f"UPDATE records SET json = json_remove(json, '$.picked[0]') {PICKS}",
            "picked: expected one value for each of 4 images, but got 3",
        ),
        (
            f"UPDATE records SET json = json_set(json, '$.picked', json('[]')) {PICKS}",
            "picked: expected one value for each",
        ),
        ("UPDATE records SET json = replace(json, '\"block\": 0', '\"block\": -1')", "block: expected a whole number"),
        ('UPDATE records SET json = replace(json, \'"key": "\', \'"key": "0\')', "expected that of its row"),
        (
            "UPDATE records SET json = replace(json, '\"labels\": [0', '\"labels\": [9')",
            "an image of the result with its label",
        ),
    ],
)
def test_hostile_stores_are_refused(sample: Any, sql: str, told: str) -> None:
    with closing(sqlite3.connect(sample.stores)) as saved, saved:
        saved.execute(sql)

    def read() -> None:
        board, records = from_store(sample.stores, "hostile")
        merge(board, records)

    refused(read, told)


@pytest.mark.parametrize(
    ("shape", "pixels", "told"),
    [
        ("4,1,4,4", zlib.compress(bytes(10**8)), "bytes cannot hold 256 for the shape"),
        ("4,1,4,4", zlib.compress(bytes(4 * 100_000)), "expected 256 bytes for the shape"),
        ("4,1,4,4", zlib.compress(bytes(255)), "expected 256 bytes for the shape"),
        ("4,1,4,4", b"", "expected 256 bytes for the shape"),
        ("4,1,4,4", b"nonsense", "the bytes are damaged"),
        ("99999,99999,99999,9", b"", "expected at most 268,435,456 numbers"),
        ("268435456,1,1,1", zlib.compress(bytes(100)), "cannot hold 1,073,741,824 for the shape"),
        ("4", b"", "expected a shape such as"),
        ("-1,1,4,4", b"", "expected a shape such as"),
    ],
)
def test_packed_images_are_unpacked_to_their_shape_at_most(sample: Any, shape: str, pixels: bytes, told: str) -> None:
    with store.reading(sample.stores) as saved:
        (_, keys) = saved.plans()["hostile"]
        before = saved.adversarial(keys[0])
    assert before is not None
    with closing(sqlite3.connect(sample.stores)) as changed, changed:
        changed.execute("UPDATE adversarial SET shape = ?, pixels = ? WHERE key = ?", (shape, pixels, keys[0]))
    with store.reading(sample.stores) as saved:
        refused(lambda: saved.adversarial(keys[0]), told)


def test_reading_many_records_is_quick(sample: Any) -> None:
    with store.reading(sample.stores) as saved:
        (_, keys) = saved.plans()["hostile"]
        record = saved.get(keys[0])
        assert record is not None
        text, began = record.to_json(), process_time()
        for _ in range(1000):
            assert Record.from_json(text) == record
        assert process_time() - began < 3  # 0.15 s on an idle core
        assert saved.has(keys[0])
        assert not saved.has("another")


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"images": [1, 1]}, "images: expected each image once"),
        ({"labels": [0]}, "labels: expected one value for each of 2 images, but got 1"),
        ({"nearest": [0.1]}, "nearest: expected one value"),
        ({"reasons": ["", "", ""]}, "reasons: expected one value"),
        ({"draws": ["111", "11"]}, "draws: expected equally many draws of each image, but got [2, 3]"),
        ({"draws": ["01", "11"]}, "outcomes[0]: robust contradicts the draws '01'"),
        ({"outcomes": ["skipped", "robust"]}, "draws[0]: expected 0 verification draws of an image that is skipped"),
        ({"distances": [-1.0, 0.0]}, "distances[0]: expected a number of at least 0.0, but got -1.0"),
        ({"claims": [2, 0]}, "claims[0]: expected 0 or 1, but got 2"),
        ({"forwards": 2**63}, "forwards: expected a whole number below 9223372036854775808"),
        ({"provenance": {"defense": {"random": 1}}}, "provenance.defense.random: expected true or false, but got 1"),
        ({"provenance": {"defense": {"parameters": "many"}}}, "provenance.defense.parameters: expected a whole number"),
        ({"provenance": {"versions": {"a": [[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]}}}, "at most 20 levels"),
        ({"seconds": {"attack": "1"}}, "seconds.attack: expected a number, but got '1'"),
        ({"block": 0.5}, "block: expected a whole number, but got 0.5"),
        ({"note": []}, "the key 'note' is unknown; did you mean 'notes'?"),
        ({"schema": 0}, "expected schema 1, but got 0, of an earlier purebench"),
        ({"schema": True}, "schema: expected 1, but got True"),
    ],
)
def test_records_that_contradict_themselves_are_refused(fields: dict[str, Any], told: str) -> None:
    good = {
        **{"key": "k", "board": "b", "defense": "d", "attack": "a", "block": 0, "schema": 1},
        **{"images": [1, 2], "labels": [0, 1], "outcomes": ["robust", "robust"], "draws": ["11", "11"]},
        "distances": [0.0, None],
    }
    assert Record.from_dict(good).outcomes == ["robust", "robust"]
    refused(lambda: Record.from_dict(good | fields), told)
    refused(lambda: Record.from_dict({k: v for k, v in good.items() if k != "draws"}), "expected the key 'draws'")


def test_a_board_is_the_same_in_every_kind_of_file(sample: Any) -> None:
    """What a store and a result keep of a board goes through the schema of a board.yaml."""
    board = load_board(sample.boards)
    with store.reading(sample.stores) as saved:
        (definition, _) = saved.plans()["hostile"]
    assert parse_board(definition) == board
    kept = load_result(sample.results / "none.json").board
    assert {name: definition[name] for name in kept} == dict(kept)
