"""Tests of labels from folder names: numeric order, string order, and names for which they differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from purebench.core.errors import PurebenchError
from purebench.data.class_folders import class_names


def make_folders(root: Path, *names: str) -> Path:
    root.mkdir(exist_ok=True)
    for name in names:
        (root / name).mkdir()
    return root


def test_numeric_names_are_in_numeric_order(tmp_path: Path) -> None:
    numbers = [str(number) for number in range(12)]
    root = make_folders(tmp_path / "a", *numbers)
    assert class_names(root, None, None) == tuple(numbers)
    assert class_names(root, 12, None) == tuple(numbers)
    assert class_names(root, list(range(12)), None) == tuple(numbers)
    assert class_names(root, None, "string")[:4] == ("0", "1", "10", "11")
    assert class_names(make_folders(tmp_path / "b", *numbers[1:]), None, None) == tuple(numbers[1:])
    padded = [f"{number:02d}" for number in range(12)]
    assert class_names(make_folders(tmp_path / "c", *padded), None, None) == tuple(padded)


def test_names_with_the_same_numeric_and_string_order_need_no_setting(tmp_path: Path) -> None:
    names = ("ant", "bee2", "bee3", "n01440764", "n01443537", "n02000000")
    assert class_names(make_folders(tmp_path / "a", *names), None, None) == tuple(sorted(names))


def test_names_with_different_numeric_and_string_order_are_rejected_with_the_cure(tmp_path: Path) -> None:
    root = make_folders(tmp_path / "a", "class1", "class2", "class10")
    for classes in (None, 3):
        with pytest.raises(
            PurebenchError, match=r"first 'class10' or 'class2'\); .*classes=\[…\].*order=number.*order=str"
        ):
            class_names(root, classes, None)
    assert class_names(root, None, "number") == ("class1", "class2", "class10")
    assert class_names(root, None, "string") == ("class1", "class10", "class2")
    mixed = make_folders(tmp_path / "b", "9", "10", "cat")
    with pytest.raises(PurebenchError, match="one order as strings and another as numbers"):
        class_names(mixed, None, None)


def test_a_gap_in_numeric_names_is_rejected_unless_classes_or_order_are_given(tmp_path: Path) -> None:
    for name, present, missing in (("a", "013", 2), ("b", "124", 3), ("c", "567", 1), ("d", "02", 1)):
        root = make_folders(tmp_path / name, *present)
        with pytest.raises(PurebenchError, match=f"but {missing} is missing, which may shift the labels"):
            class_names(root, None, None)
        assert class_names(root, len(present), None) == tuple(present)
        assert class_names(root, None, "number") == tuple(present)


@pytest.mark.parametrize(
    ("classes", "order", "message"),
    [
        (None, "numbers", "order: 'numbers' is unknown; did you mean 'number'"),
        (["ant", "bee"], "number", "but got both; remove order"),
        (["ant"], None, r"\['ant', 'bee'\], but got \['ant'\]"),
        (["ant", "bee", "ant"], None, "got 'ant' twice"),
        (["ant", "bee", None], None, "names of sub-folders, but got None"),
        (["ant", "bee", True], None, "but got True"),
        ([], None, "list all names"),
        (True, None, "names or a number, but got True"),
        ("ant", None, "names or a number, but got 'ant'"),
        (3, None, "expected 3 sub-folders .* but got 2"),
        pytest.param(10**5000, None, "too long to print> sub-folders .* but got 2", id="huge"),
    ],
)
def test_invalid_classes_and_order_are_rejected(tmp_path: Path, classes: Any, order: Any, message: str) -> None:
    with pytest.raises(PurebenchError, match=message) as caught:
        class_names(make_folders(tmp_path / "a", "ant", "bee"), classes, order)
    assert "\n" not in str(caught.value)


def test_missing_folders_and_two_folders_of_one_number_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(PurebenchError, match="but got none"):
        class_names(make_folders(tmp_path / "a", ".hidden"), None, None)
    with pytest.raises(PurebenchError, match="are the same number"):
        class_names(make_folders(tmp_path / "b", "0", "1", "01"), None, None)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(st.text("ab019", min_size=1, max_size=4), min_size=1, max_size=6), st.sampled_from([None, "number"]))
def test_each_name_is_returned_once_and_numbers_are_in_increasing_order(
    tmp_path_factory: pytest.TempPathFactory, names: set[str], order: str | None
) -> None:
    root = make_folders(tmp_path_factory.mktemp("x"), *names)
    try:
        found = class_names(root, None, order)
    except PurebenchError:
        return
    assert set(found) == names
    assert len(found) == len(names)
    numbers = [int(name) for name in found if name.isdigit()]
    assert numbers == sorted(numbers)
    assert order == "number" or len(numbers) == len(names) or found == tuple(sorted(names))
