"""AdamW as named tensors, on torch's functional form.

`torch.optim.AdamW` imports torch's compiler when it is made, several seconds on a small machine, for nothing that
this loop uses; and its state is here in the form in which a checkpoint holds it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch
from torch.optim.adamw import adamw

if TYPE_CHECKING:
    from collections.abc import Iterable

BETAS: Final = (0.9, 0.999)
EPSILON: Final = 1e-8


class AdamW:
    """Adam with decoupled weight decay, step for step what `torch.optim.AdamW` does (tested).

    Args:
        parameters: The parameters to move, in a fixed order.
        learning_rate: May be set anew before each step.
        weight_decay: Share of a weight that a step of learning rate 1 would take away.
    """

    def __init__(self, parameters: Iterable[torch.nn.Parameter], *, learning_rate: float, weight_decay: float) -> None:
        self.parameters = [parameter for parameter in parameters if parameter.requires_grad]
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self._means = [torch.zeros_like(parameter) for parameter in self.parameters]
        self._squares = [torch.zeros_like(parameter) for parameter in self.parameters]
        self._steps = [torch.zeros(()) for _ in self.parameters]

    def clear(self) -> None:
        """Forgets the gradients of the last batch."""
        for parameter in self.parameters:
            parameter.grad = None

    def step(self) -> None:
        """Moves every parameter that has a gradient."""
        used = [i for i, parameter in enumerate(self.parameters) if parameter.grad is not None]
        with torch.no_grad():
            adamw(
                [self.parameters[i] for i in used],
                [self.parameters[i].grad for i in used],
                [self._means[i] for i in used],
                [self._squares[i] for i in used],
                [],
                [self._steps[i] for i in used],
                foreach=True,
                amsgrad=False,
                beta1=BETAS[0],
                beta2=BETAS[1],
                lr=self.learning_rate,
                weight_decay=self.weight_decay,
                eps=EPSILON,
                maximize=False,
            )

    def tensors(self) -> dict[str, torch.Tensor]:
        """The state as named tensors."""
        rows = enumerate(zip(self._means, self._squares, self._steps, strict=True))
        return {
            f"{i}.{name}": tensor
            for i, row in rows
            for name, tensor in zip(("mean", "square", "step"), row, strict=True)
        }

    def restore(self, tensors: dict[str, torch.Tensor]) -> None:
        """Takes over the state that `tensors` gave; the learning rate is the caller's."""
        for name, tensor in self.tensors().items():
            tensor.copy_(tensors[name])
