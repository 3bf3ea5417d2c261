"""Tests that weights load as saved, and that damaged files are rejected with one line that names the file."""

from __future__ import annotations

import json
import stat

import pytest
import torch
from safetensors.torch import load_file, save_file

from purebench.core.errors import PurebenchError
from purebench.defenses import checkpoints
from purebench.defenses.classifiers.resnet import ResNet
from purebench.defenses.vae.plain import VAE

SMALL = {"channels": 1, "width": 2, "z": 3}
RESNET = {"channels": 1, "classes": 4, "width": 4, "depth": 1, "stride": 2}


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "small.safetensors"
    checkpoints.save(path, VAE(**SMALL), "vae", SMALL)
    return path


def rejection_message(path) -> str:
    """Return the message of the error with which the file is rejected: one line that names the file."""
    with pytest.raises(PurebenchError) as caught:
        checkpoints.load(str(path), "vae", VAE)
    message = str(caught.value)
    assert "\n" not in message
    assert "expected" in message
    assert str(path) in message
    assert len(message) < 600
    return message


def rewritten(path, change, header=None):
    """Rewrite the file after `change` has modified the dictionary of its tensors."""
    state = load_file(path)
    change(state)
    save_file(state, path, metadata=header or {"kind": "vae", "architecture": json.dumps(SMALL)})
    return path


def test_round_trip_keeps_every_value_to_fp16(tmp_path):
    torch.manual_seed(0)
    model = ResNet(**RESNET)
    model(torch.rand(8, 1, 32, 32))  # moves the running statistics and counts the batch
    path = tmp_path / "net.safetensors"
    checkpoints.save(path, model, "resnet", RESNET)
    loaded = checkpoints.load(str(path), "resnet", ResNet).state_dict()
    assert list(loaded) == list(model.state_dict())
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            assert loaded[name].dtype == torch.float32
            assert torch.equal(loaded[name], value.half().float())
            assert torch.allclose(loaded[name], value, rtol=2**-11, atol=2**-25)
        else:
            assert torch.equal(loaded[name], value)
            assert int(value) == 1


def test_loaded_models_are_in_eval_mode_without_parameter_gradients(saved):
    model = checkpoints.load(str(saved), "vae", VAE)
    assert not any(module.training for module in model.modules())
    assert not any(parameter.requires_grad for parameter in model.parameters())
    x = torch.rand(1, 1, 32, 32, requires_grad=True)
    model.encode(x)[0].sum().backward()
    assert x.grad.abs().max() > 0


def test_saving_is_reproducible_and_leaves_one_file_with_default_permissions(saved, tmp_path):
    again = tmp_path / "again.safetensors"
    checkpoints.save(again, checkpoints.load(str(saved), "vae", VAE), "vae", SMALL)
    assert again.read_bytes() == saved.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.safetensors", "small.safetensors"]
    plain = tmp_path / "plain"
    plain.touch()
    assert stat.S_IMODE(saved.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_failed_save_keeps_the_existing_file(saved, tmp_path):
    before, model = saved.read_bytes(), VAE(**SMALL)
    with torch.no_grad():
        model.decoder[0].bias[0] = 1e5  # beyond fp16
    with pytest.raises(PurebenchError, match=r"finite in fp16, but 'decoder\.0\.bias'"):
        checkpoints.save(saved, model, "vae", SMALL)
    assert saved.read_bytes() == before
    with pytest.raises(PurebenchError, match="free space or name another folder"):
        checkpoints.save(tmp_path / "nowhere" / "x.safetensors", VAE(**SMALL), "vae", SMALL)
    with pytest.raises(PurebenchError, match="free space or name another folder"):
        checkpoints.save(saved / "x.safetensors", VAE(**SMALL), "vae", SMALL)


@pytest.mark.parametrize(
    ("value", "message_part"),
    [
        ([[1.0]], "to be a tensor, but got list"),
        (None, "to be a tensor, but got NoneType"),
        (torch.ones(3, 1), r"of shape \[3, 2\], but got \[3, 1\]"),
        (torch.ones(3, 2, dtype=torch.int64), "to hold plain torch.float32, but got torch.int64"),
        (torch.ones(3, 2, dtype=torch.complex64), "torch.complex64"),
        (torch.ones(3, 2).to_sparse(), "torch.sparse_coo"),
        (torch.ones(3, 2, device="meta"), "on meta"),
        (torch.full((3, 2), torch.nan), "expected finite weights, but 'w' holds NaN"),
        (torch.full((3, 2), 1e300, dtype=torch.float64), "holds NaN or infinity"),
    ],
)
def test_invalid_weight_error_names_its_key(tmp_path, value, message_part):
    with pytest.raises(PurebenchError, match=message_part) as caught:
        checkpoints.check_keys(tmp_path / "f.pt", {"w": torch.zeros(3, 2)}, {"w": value})
    assert "'w'" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn])
def test_any_float_dtype_is_accepted(tmp_path, dtype):
    state = {"w": torch.full((3, 2), 0.5).to(dtype), "n": torch.tensor(7)}
    checkpoints.check_keys(tmp_path, {"w": torch.zeros(3, 2), "n": torch.tensor(0)}, state)
    assert checkpoints.in_float32(state)["w"].tolist() == [[0.5, 0.5]] * 3
    assert checkpoints.in_float32(state)["n"].dtype == torch.int64


def test_prefix_of_dataparallel_is_named_in_the_error(tmp_path):
    with pytest.raises(PurebenchError, match=r"key 'w', but it is there as 'module\.w' \(DataParallel"):
        checkpoints.check_keys(tmp_path, {"w": torch.zeros(1)}, {"module.w": torch.zeros(1)})


def test_missing_files_are_rejected_with_suggestions(tmp_path):
    message = rejection_message(tmp_path / "none.safetensors")
    assert "neither" in message
    with pytest.raises(PurebenchError, match=r"'fashion-vea' is neither; did you mean 'fashion-vae'"):
        checkpoints.load("fashion-vea", "vae", VAE)
    with pytest.raises(PurebenchError, match=r"known: .*fashion-resnet"):
        checkpoints.load("q", "vae", VAE)


@pytest.mark.parametrize("keep", [0, 1, 7, 8, 100, 0.5, 0.99, -1])
def test_truncated_files_are_rejected(saved, keep):
    data = saved.read_bytes()
    saved.write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    message = rejection_message(saved)
    assert "cut short or damaged" in message
    assert "fetch it again" in message


@pytest.mark.parametrize("data", [b"garbage" * 999, b"\x89PNG\r\n\x1a\n" + bytes(500), bytes(64), b"PK\x03\x04" * 99])
def test_files_of_another_format_are_rejected(saved, data):
    saved.write_bytes(data)
    message = rejection_message(saved)
    assert "expected safetensors" in message
    assert "fetch it again" in message


def test_valid_file_with_random_values_is_rejected(saved):
    data = bytearray(saved.read_bytes())
    generator = torch.Generator().manual_seed(0)
    data[-2000:] = bytes(torch.randint(0, 256, (2000,), generator=generator).tolist())
    saved.write_bytes(bytes(data))
    assert "NaN or infinity; fetch it again" in rejection_message(saved)


def test_weights_of_another_model_are_rejected(tmp_path, saved):
    other = tmp_path / "other.safetensors"
    checkpoints.save(other, ResNet(**RESNET), "resnet", RESNET)
    assert "expected weights of a 'vae', but got 'resnet'; name the right file" in rejection_message(other)
    save_file(load_file(saved), saved)
    assert "without purebench's header" in rejection_message(saved)


def test_missing_unexpected_and_misshapen_keys_are_rejected(saved):
    original = saved.read_bytes()
    message = rejection_message(rewritten(saved, lambda state: state.pop("decoder.0.bias")))
    assert "expected the key 'decoder.0.bias', but it is missing; fetch it again" in message
    saved.write_bytes(original)
    message = rejection_message(rewritten(saved, lambda state: state.update(extra=torch.zeros(2))))
    assert "expected only the model's keys, but got 'extra' too; fetch it again" in message
    saved.write_bytes(original)
    message = rejection_message(rewritten(saved, lambda state: state.update({"decoder.0.bias": torch.zeros(2)})))
    assert "expected 'decoder.0.bias' of shape [128], but got [2]; fetch it again" in message


@pytest.mark.parametrize(
    "architecture", ["{", "[]", '"vae"', '{"colour": 3}', '{"width": -1}', '{"width": "x"}', '{"width": 0.5}', None]
)
def test_architectures_of_another_version_are_rejected(saved, architecture):
    header = {"kind": "vae"} | ({} if architecture is None else {"architecture": architecture})
    message = rejection_message(rewritten(saved, lambda state: None, header))
    assert "expected an architecture of this version's 'vae', but got another" in message
    assert "train it anew" in message
