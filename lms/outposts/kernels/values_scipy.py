"""scipy's sparse matrices as their plain arrays."""

from collections.abc import Sequence
from typing import Any

from scipy import sparse

from lms.outposts.kernels.values import DECODERS, ENCODERS, Decoder, Encoder, Node, exactly
from lms.outposts.kernels.values_numpy import read_array, write_array

_KINDS = {
    kind.__name__: kind
    for kind in (
        *(sparse.csr_matrix, sparse.csc_matrix, sparse.coo_matrix),
        *(sparse.csr_array, sparse.csc_array, sparse.coo_array),
    )
}


def _encode_sparse(encoder: Encoder, value: Any) -> Node:  # noqa: ANN401 (scipy has no types here)
    kind = type(value).__name__
    entries = sparse.coo_array(value)
    if entries.ndim != 2:  # noqa: PLR2004 (a matrix)
        return encoder.foreign(value)
    rows, columns = entries.coords
    parts = [write_array(encoder, part) for part in (entries.data, rows, columns)]
    return ["sp.m", kind, list(map(int, value.shape)), *parts]


def _decode_sparse(decoder: Decoder, node: Sequence[Any]) -> Any:  # noqa: ANN401 (scipy has no types here)
    _, kind, shape, *parts = node
    content, rows, columns = (read_array(decoder, part) for part in parts)
    height, width = (exactly(length, int) for length in shape)
    # scipy itself checks that every place lies inside.
    entries = sparse.coo_array((content, (rows, columns)), shape=(height, width))
    return _KINDS[exactly(kind, str)](entries)


ENCODERS.update(dict.fromkeys(_KINDS.values(), _encode_sparse))
DECODERS["sp.m"] = _decode_sparse
