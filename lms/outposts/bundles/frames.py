"""zstd frames with known sizes: nothing is unpacked before its declared size was checked."""

import zstandard

from lms.outposts.bundles.problems import DamagedError
from lms.protocol.sentences import sentence

#: Raw bytes in one frame of a pack; what an install unpacks at once.
FRAME_BYTES = 4 << 20
#: The most that a patch may unpack to, and the most of a base that it may lean on.
PATCH_BYTES = 24 << 20
LEVEL = 19
_LARGEST_WINDOW_LOG, _SMALLEST_WINDOW_LOG = 26, 17
_LONG = 1 << 20


def compress(raw: bytes | memoryview, base: bytes = b"", *, level: int = LEVEL) -> bytes:
    """Return one frame; `base` is what the unpacker holds already."""
    total = len(raw) + len(base)
    window = min(_LARGEST_WINDOW_LOG, max(_SMALLEST_WINDOW_LOG, total.bit_length()))
    parameters = zstandard.ZstdCompressionParameters.from_level(
        level,
        window_log=window,
        enable_ldm=bool(base) and total > _LONG,
        write_content_size=True,
        write_checksum=True,
    )
    if base:
        compressor = zstandard.ZstdCompressor(
            compression_params=parameters, dict_data=_dictionary(base)
        )
    else:
        compressor = zstandard.ZstdCompressor(compression_params=parameters)
    return compressor.compress(raw)


def decompress(frame: bytes | memoryview, size: int, base: bytes = b"") -> bytes:
    """Unpack one frame of exactly `size` raw bytes; raises DamagedError before unpacking a bomb."""
    try:
        facts = zstandard.get_frame_parameters(frame)
        if facts.content_size != size or facts.dict_id:
            raise _damaged()
        unpacker = (
            zstandard.ZstdDecompressor(
                dict_data=_dictionary(base), max_window_size=1 << _LARGEST_WINDOW_LOG
            )
            if base
            else zstandard.ZstdDecompressor(max_window_size=1 << _LARGEST_WINDOW_LOG)
        )
        # With read_across_frames off and a size in the header, what follows the frame is refused.
        raw = unpacker.decompress(frame, max_output_size=size, allow_extra_data=False)
    except (zstandard.ZstdError, ValueError, MemoryError) as error:
        raise _damaged() from error
    if len(raw) != size:
        raise _damaged()
    return raw


def _dictionary(base: bytes) -> zstandard.ZstdCompressionDict:
    return zstandard.ZstdCompressionDict(base, dict_type=zstandard.DICT_TYPE_RAWCONTENT)


def _damaged() -> DamagedError:
    return DamagedError(sentence("A part of the bundle is damaged."))
