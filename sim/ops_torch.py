"""The simulator's array operations on torch tensors, on the processor or on a CUDA device."""

import numpy as np
import torch
from numpy.typing import NDArray


class TorchOps:
    """`afdaemon.sim.ops.Ops` on tensors of `device`."""

    def __init__(self, device: str) -> None:
        self.device = torch.device(device)

    def array(self, values: NDArray[np.float32]) -> torch.Tensor:
        """A copy on the device."""
        return torch.tensor(values, device=self.device)

    def rfft2(self, field: torch.Tensor) -> torch.Tensor:
        """Half-plane spectrum, complex64."""
        spectrum: torch.Tensor = torch.fft.rfft2(field)
        return spectrum

    def irfft2(self, spectrum: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
        """The field of a spectrum, float32."""
        field: torch.Tensor = torch.fft.irfft2(spectrum, s=shape)
        return field

    def sqrt(self, a: torch.Tensor) -> torch.Tensor:
        """Square root, in place."""
        return a.sqrt_()

    def exp(self, a: torch.Tensor) -> torch.Tensor:
        """Exponential, in place."""
        return a.exp_()

    def floor(self, a: torch.Tensor) -> torch.Tensor:
        """The largest whole numbers that are not above `a`."""
        return a.floor()

    def at_least(self, a: torch.Tensor, low: float) -> torch.Tensor:
        """The larger of `a` and `low`, in place."""
        return a.clamp_(min=low)

    def is_zero(self, a: torch.Tensor) -> bool:
        """Whether all of it is 0."""
        return not bool(a.any())

    def power(self, a: torch.Tensor, exponent: torch.Tensor) -> torch.Tensor:
        """Power of the positive values."""
        return torch.where(a > 0.0, a.clamp(min=0.0).pow(exponent), a)

    def lag(self, a: torch.Tensor, left: torch.Tensor) -> torch.Tensor:
        """A filter of first order along the last axis, at rest before the line."""
        if not bool((left > 0.0).any()):
            return a
        keep = left[..., 0]
        for column in range(1, a.shape[-1]):
            a[..., column] += keep * (a[..., column - 1] - a[..., column])
        return a

    def interpolate(self, table: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
        """Linear interpolation in a table, in place."""
        index = position.long().clamp_(max=table.shape[1] - 1)
        position.frac_()
        position *= table[1][index]
        position += table[0][index]
        return position

    def grey(self, level: torch.Tensor) -> NDArray[np.uint8]:
        """Levels rounded to 0..255."""
        return np.asarray(level.round_().clamp_(0.0, 255.0).to(torch.uint8).cpu().numpy())

    def generator(self, seed: int) -> torch.Generator:
        """A random stream on the device."""
        return torch.Generator(self.device).manual_seed(seed)

    def normals(self, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
        """Standard normals."""
        return torch.randn(shape, generator=generator, device=self.device)


def cuda_available() -> bool:
    """Whether torch finds a CUDA device."""
    return torch.cuda.is_available()
