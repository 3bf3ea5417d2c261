"""Tests the reading of published files: tensors and plain values only, and no code execution without trust."""

from __future__ import annotations

import os
import pickle
from argparse import Namespace
from pathlib import Path

import pytest
import torch

from purebench.core.errors import MissingFiles, PurebenchError
from purebench.defenses.mlvgm.official import find_official, models_home, read_official


class Hostile:
    """Creates a folder when it is unpickled."""

    def __init__(self, place: Path):
        self.place = place

    def __reduce__(self):
        return os.mkdir, (str(self.place),)


def saved(path: Path, content: object, **options) -> Path:
    torch.save(content, path, **options)
    return path


@pytest.mark.parametrize("zipped", [True, False])
def test_both_torch_file_formats_are_read(tmp_path, zipped):
    path = saved(
        tmp_path / "a.pt", {"w": torch.arange(3.0), "opts": {"size": 8}}, _use_new_zipfile_serialization=zipped
    )
    found = read_official(path)
    assert found["w"].tolist() == [0, 1, 2]
    assert found["opts"] == {"size": 8}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("trust", [True, False])
def test_truncated_file_is_rejected(tmp_path, zipped, share, trust):
    path = saved(tmp_path / "a.pt", {"w": torch.ones(999)}, _use_new_zipfile_serialization=zipped)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(PurebenchError, match=r"a\.pt: .*cut short or damaged.*fetch it again"):
        read_official(path, trust=trust)


@pytest.mark.parametrize("text", ["<html>404</html>", "version https://git-lfs.github.com/spec/v1\n"])
def test_web_page_or_git_lfs_pointer_is_rejected(tmp_path, text):
    path = tmp_path / "a.pt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(PurebenchError, match="damaged"):
        read_official(path)


def test_pickled_code_is_rejected_without_running_it_unless_trusted(tmp_path):
    mark = tmp_path / "ran"
    path = saved(tmp_path / "a.pt", {"w": torch.ones(1), "opts": Hostile(mark)})
    with pytest.raises(PurebenchError, match=r"holds a \w+\.mkdir, .*purebench convert --trust"):
        read_official(path)
    assert not mark.exists()
    read_official(path, trust=True)
    assert mark.exists()


def test_namespace_needs_trust_and_becomes_a_nested_dict(tmp_path):
    path = saved(tmp_path / "a.pt", {"opts": Namespace(size=8, inner=Namespace(n=1))})
    with pytest.raises(PurebenchError, match=r"argparse\.Namespace.*\(purebench convert --trust .*, and remove a\.pt"):
        read_official(path)
    assert read_official(path, trust=True) == {"opts": {"size": 8, "inner": {"n": 1}}}


def test_modules_need_trust_and_become_their_state_dicts(tmp_path):
    layer = torch.nn.Linear(2, 2)
    for content, wrapped in ((layer, "state_dict"), ({"model": layer}, "model")):
        path = saved(tmp_path / "a.pt", content)
        with pytest.raises(PurebenchError, match="purebench convert --trust"):
            read_official(path)
        state = read_official(path, trust=True)[wrapped]
        assert state.keys() == {"weight", "bias"}
        assert torch.equal(state["weight"], layer.weight)


def test_class_of_a_missing_package_is_named_in_the_error(tmp_path):
    path = tmp_path / "a.pt"
    body = pickle.dumps({"opts": Namespace()}, protocol=2).replace(b"argparse", b"absentpk")
    saved(path, {}, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes().replace(pickle.dumps({}, protocol=2), body))
    with pytest.raises(PurebenchError, match=r"absentpk.*where it was made"):
        read_official(path, trust=True)


def test_missing_file_and_content_other_than_a_dict_are_rejected(tmp_path):
    with pytest.raises(PurebenchError, match="no such file"):
        read_official(tmp_path / "none.pt")
    with pytest.raises(PurebenchError, match="is a dict, but got a list"):
        read_official(saved(tmp_path / "a.pt", [torch.ones(1)]))


def test_files_are_found_under_the_authors_name_or_the_converted_name(tmp_path, monkeypatch):
    monkeypatch.setenv("PUREBENCH_MODELS", str(tmp_path))
    assert models_home() == tmp_path
    with pytest.raises(MissingFiles, match=r"deep/last\.pt \(published at example\.org\)"):
        find_official("deep/last.pt", "example.org")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "last.safetensors").touch()
    assert find_official("deep/last.pt", "example.org").name == "last.safetensors"
    (tmp_path / "deep" / "last.pt").touch()
    assert find_official("deep/last.pt", "example.org").name == "last.pt"
    with pytest.raises(MissingFiles, match="mine"):
        find_official("deep/last.pt", "example.org", str(tmp_path / "mine.pt"))


def test_missing_files_error_can_be_pickled_and_lists_each_file_once(tmp_path):
    with pytest.raises(MissingFiles) as caught:
        find_official("a.pt", "x.org", str(tmp_path / "a.pt"))
    twice = MissingFiles(*caught.value.files, *caught.value.files)
    again = pickle.loads(pickle.dumps(twice))
    assert isinstance(again, PurebenchError)
    assert str(again) == str(twice)
    assert str(twice).count("x.org") == 1
