"""One step downhill: what all trainings do with a loss."""

from torch import Tensor, nn
from torch.optim import Optimizer


def step_down(loss: Tensor, optimiser: Optimizer, *, largest_gradient: float = 0.0) -> float:
    """Follow the gradient of a loss; returns its value. A gradient of more than `largest_gradient` is cut to that.

    0 leaves gradients as they are. The optimiser's gradients of before are forgotten.
    """
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]  # torch has no types here
    if largest_gradient:
        learned = (p for group in optimiser.param_groups for p in group["params"])
        nn.utils.clip_grad_norm_(learned, largest_gradient)
    optimiser.step()
    return float(loss.detach())
