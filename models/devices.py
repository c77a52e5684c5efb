"""Where networks compute, and in which precision."""

import torch

from afdaemon.models.errors import ModelError

_NATIVE_BF16 = ("amx_bf16", "avx512_bf16", "bf16", "sve_bf16")
"""What torch calls the instruction sets that compute in bfloat16."""


def choose_device(name: str = "auto") -> torch.device:
    """The device called `auto` (GPU if there is one), `cpu` or `cuda`.

    Raises:
        ModelError: no such device here.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise ModelError(f"no device is called {name!r}", remedy="use auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise ModelError("there is no CUDA device here", remedy="use device auto or cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def native_precision(device: torch.device) -> torch.dtype:
    """bfloat16 where the device computes in it, float32 elsewhere."""
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        # an older torch cannot tell; where the processor lacks bf16 it would be emulated slowly
        ask = getattr(torch.cpu, "get_capabilities", dict)
        capabilities: dict[str, object] = ask()
        native = any(capabilities.get(name, False) for name in _NATIVE_BF16)
    return torch.bfloat16 if native else torch.float32
