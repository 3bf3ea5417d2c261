"""The U-Net of Ho et al. 2020 in the layout of pesser's port, which DiffPure and GDMP use (arXiv:2006.11239).

The keys are temb, conv_in, down, mid, up, norm_out and conv_out. diffusers' UNet2DModel computes the same function, so
the weights are renamed to its keys.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from purebench.core.errors import PurebenchError


class HoUNet(nn.Module):
    """Noise-prediction network eps(x_t, t): noisy images [N,C,H,W], scaled to [-1,1], and timesteps → the noise.

    The timesteps [N] are in 0..999; the predicted noise has the shape of the images.

    Args:
        channels: channels of the images.
        width: features of the first level.
        multiples: factor on the width at each level.
        blocks: residual blocks of a level.
        attended: whether each level has attention.
        groups: groups of the norms.
    """

    def __init__(
        self,
        *,
        channels: int = 3,
        width: int = 128,
        multiples: Sequence[int] = (1, 2, 2, 2),
        blocks: int = 2,
        attended: Sequence[bool] = (False, True, False, False),
        groups: int = 32,
    ):
        super().__init__()
        from diffusers import UNet2DModel

        self.unet: nn.Module = UNet2DModel(  # type: ignore[no-untyped-call,assignment]
            in_channels=channels,
            out_channels=channels,
            block_out_channels=tuple(width * multiple for multiple in multiples),
            layers_per_block=blocks,
            down_block_types=tuple("AttnDownBlock2D" if attends else "DownBlock2D" for attends in attended),
            up_block_types=tuple("AttnUpBlock2D" if attends else "UpBlock2D" for attends in reversed(attended)),
            attention_head_dim=None,  # one head
            norm_num_groups=groups,
            norm_eps=1e-6,
            downsample_padding=0,
            flip_sin_to_cos=False,
            freq_shift=1,
        )

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Predict the noise.

        Args:
            x: noisy images [N,C,H,W], scaled to [-1,1].
            t: timesteps [N] in 0..999.

        Returns:
            The predicted noise [N,C,H,W].
        """
        predicted: Tensor = self.unet(x, t).sample
        return predicted


def is_ho_unet(state: Mapping[str, Any]) -> bool:
    """Return whether a checkpoint has the layout."""
    return {"temb.dense.0.weight", "down.0.block.0.temb_proj.weight"} <= state.keys()


def ho_architecture(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Infer the arguments of HoUNet, except for the groups, from the keys and shapes of a checkpoint.

    Args:
        state: the weights by key.

    Raises:
        PurebenchError: If a key is missing.
    """
    try:
        width, channels = state["conv_in.weight"].shape[:2]
        levels = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("down."))
        places = [int(name.split(".")[3]) for name in state if name.startswith("down.0.block.")]
        return {
            "channels": channels,
            "width": width,
            "multiples": [state[f"down.{level}.block.0.conv1.weight"].shape[0] // width for level in range(levels)],
            "blocks": 1 + max(places),
            "attended": [f"down.{level}.attn.0.q.weight" in state for level in range(levels)],
        }
    except (LookupError, ValueError) as error:
        raise PurebenchError(
            f"DDPM: expected the keys of a whole U-Net, but {error} is missing; fetch the file again."
        ) from error


PARTS = {
    "temb.dense.0": "time_embedding.linear_1",
    "temb.dense.1": "time_embedding.linear_2",
    "norm_out": "conv_norm_out",
    "mid.block_1": "mid_block.resnets.0",
    "mid.block_2": "mid_block.resnets.1",
    "mid.attn_1": "mid_block.attentions.0",
}
LAYERS = {"temb_proj": "time_emb_proj", "nin_shortcut": "conv_shortcut"}
ATTENTION = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}


def renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights by the keys of HoUNet; attention's 1×1 convolutions become matrices."""
    levels = len({name.split(".")[1] for name in state if name.startswith("down.")})
    found: dict[str, Tensor] = {}
    for name, value in state.items():
        place, _, last = name.rpartition(".")  # the last part is weight or bias
        if part := re.fullmatch(r"(down|up)\.(\d+)\.(\w+)\.(.+)", place):
            way, level, kind, rest = part[1], int(part[2]), part[3], part[4]
            lists = {"block": "resnets", "attn": "attentions", "downsample": "downsamplers", "upsample": "upsamplers"}
            rest = f"0.{rest}" if kind in ("downsample", "upsample") else rest
            number = level if way == "down" else levels - 1 - level
            place = f"{way}_blocks.{number}.{lists.get(kind, kind)}.{rest}"
        else:
            for old, new in PARTS.items():
                if place == old or place.startswith(f"{old}."):
                    place = new + place.removeprefix(old)
                    break
        head, _, layer = place.rpartition(".")
        if ".attentions." in place:
            layer = ATTENTION.get(layer, layer)
            value = value.flatten(1) if last == "weight" and value.ndim == 4 else value
        else:
            layer = LAYERS.get(layer, layer)
        found[f"unet.{head}.{layer}.{last}" if head else f"unet.{layer}.{last}"] = value
    return found
