"""torch's plain values: tensors as dtype, shape and bytes, and whether they take gradients."""

import math
from collections.abc import Sequence
from typing import Any

import torch

from lms.outposts.kernels.values import (
    DECODERS,
    ENCODERS,
    BrokenValueError,
    Decoder,
    Encoder,
    Node,
    UnsupportedError,
    exactly,
)

_DTYPES = {
    str(kind): kind
    for kind in (
        *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
        *(torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
        *(torch.bool, torch.complex64, torch.complex128),
    )
}
_MAX_DIMENSIONS = 64


def _encode_tensor(encoder: Encoder, value: Any) -> Node:  # noqa: ANN401 (torch has no types here)
    if value.layout is not torch.strided or str(value.dtype) not in _DTYPES:
        raise UnsupportedError("a tensor of an unusual layout")
    if value.requires_grad and not value.is_leaf:
        # Its history cannot cross: a backward pass on the other side would end at it.
        return encoder.foreign(value)
    key = encoder.number(value)
    try:
        kind = "parameter" if type(value) is torch.nn.Parameter else "tensor"
        plain = value.detach().cpu().contiguous()
        content = plain.reshape(-1).view(torch.uint8).numpy().tobytes() if plain.numel() else b""
        gradient = None if value.grad is None else encoder.node(value.grad.detach())
        shape = list(value.shape)
        place = encoder.blob(content)
        return ["torch.t", kind, str(value.dtype), shape, place, value.requires_grad, gradient]
    finally:
        encoder.done(key)


def _decode_tensor(decoder: Decoder, node: Sequence[Any]) -> Any:  # noqa: ANN401 (torch has no types here)
    number = decoder.reserve()
    _, kind, name, shape, place, takes_gradient, gradient = node
    dtype, content = _DTYPES[exactly(name, str)], decoder.blob(place)
    lengths = exactly(shape, list)
    if len(lengths) > _MAX_DIMENSIONS or not all(
        type(length) is int and length >= 0 for length in lengths
    ):
        raise BrokenValueError("not a shape")
    if math.prod(lengths) * torch.empty(0, dtype=dtype).element_size() != len(content):
        raise BrokenValueError("a tensor whose bytes do not fill its shape")
    if name == "torch.bool" and content and max(content) > 1:
        raise BrokenValueError("a truth value that is neither 0 nor 1")
    flat = (
        torch.frombuffer(bytearray(content), dtype=dtype)
        if content
        else torch.empty(0, dtype=dtype)
    )
    value: Any = flat.reshape(lengths)
    if kind == "parameter":
        value = torch.nn.Parameter(value, requires_grad=exactly(takes_gradient, bool))
    else:
        value.requires_grad_(exactly(takes_gradient, bool))
    decoder.made(number, value)
    if gradient is not None:
        value.grad = decoder.read(gradient)
    return value


ENCODERS.update(
    {
        torch.Tensor: _encode_tensor,
        torch.nn.Parameter: _encode_tensor,
        torch.Size: lambda _, value: ["torch.z", *map(int, value)],
        torch.dtype: lambda encoder, value: (
            ["torch.y", str(value)] if str(value) in _DTYPES else encoder.foreign(value)
        ),
        torch.device: lambda _, value: ["torch.d", str(value)],
    }
)
DECODERS.update(
    {
        "torch.t": _decode_tensor,
        "torch.z": lambda _, node: torch.Size(exactly(part, int) for part in node[1:]),
        "torch.y": lambda _, node: _DTYPES[exactly(node[1], str)],
        "torch.d": lambda _, node: torch.device(exactly(node[1], str)),
    }
)
