"""Training for a format of few bits: the model computes with the weights that it will have once it is quantised.

A base weight is set so that it and the adapter add up to the merged weight, rounded as llama.cpp rounds it. Gradients
go to the adapter as if nothing were rounded (a straight-through estimator). The adapter is exported; merged and
quantised it gives exactly the trained model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["FORMATS", "Rounded"]

_BLOCK: Final = 32
"""Weights that share a scale."""


def _q4_0(weights: torch.Tensor) -> torch.Tensor:
    """Each block's scale makes its largest number -8; numbers become one of -8 to 7 times the scale."""
    blocks = weights.reshape(-1, _BLOCK)
    largest = blocks.gather(1, blocks.abs().argmax(1, keepdim=True))
    scale = largest / -8
    inverse = torch.where(scale == 0, 0.0, 1 / scale)
    steps = (blocks * inverse + 8.5).floor_().clamp_(0, 15).sub_(8)
    return steps.mul_(scale.half().float()).reshape(weights.shape)


FORMATS: Final[Mapping[str, Callable[[torch.Tensor], torch.Tensor]]] = {"q4_0": _q4_0}
"""Rounding functions by the name of the format."""


class Rounded:
    """Keeps the weights that a `PeftModel`'s adapter changes rounded to a format.

    Args:
        model: whose weights are changed in place.
        format_: one of `FORMATS`.
    """

    def __init__(self, model: Any, format_: str) -> None:
        self._rounded = FORMATS[format_]
        self._layers = [module for module in model.modules() if hasattr(module, "lora_A")]
        self._originals = [layer.base_layer.weight.detach().clone() for layer in self._layers]

    @torch.no_grad()
    def refresh(self) -> None:
        """Round anew, after the adapter has changed."""
        for layer, original in zip(self._layers, self._originals, strict=True):
            change = layer.get_delta_weight("default")
            # Merging keeps 16 bits before the format is made.
            merged = (original + change).half().float()
            layer.base_layer.weight.copy_(self._rounded(merged).sub_(change))
