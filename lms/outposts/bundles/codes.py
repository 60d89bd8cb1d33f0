"""Opening codes: a seal's secret as 25 letters and digits, good for one centre alone.

A code is the secret with a mask over it that only central and that centre can make, since each has
a key of its own. Whoever finds another centre's code, and even the stick with it, must still guess
90 bits. Marks of the seal and of the centre, and a check, tell what is wrong with a code.
"""

from dataclasses import dataclass
from hashlib import sha256

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from lms.outposts.bundles.problems import BundleError
from lms.outposts.bundles.sealing import SECRET_BITS
from lms.protocol.sentences import sentence

#: Crockford's: no I, L, O and U, so that none is taken for another.
_LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_SEEN_AS = str.maketrans("OIL", "011", " -\t\r\n._")
_LENGTH, _GROUP = 25, 5
_SEAL_BITS, _CENTRE_BITS, _CHECK_BITS = 13, 12, 10


@dataclass(frozen=True, slots=True)
class Code:
    """A code that was read, without a typing error."""

    masked: int
    seal: int
    centre: int

    def is_of_seal(self, seal: str) -> bool:
        """Say whether it is a code of this seal."""
        return self.seal == _mark("seal", seal, _SEAL_BITS)

    def is_of_centre(self, centre: str) -> bool:
        """Say whether it was made for this centre."""
        return self.centre == _mark("centre", centre, _CENTRE_BITS)

    def secret(self, mask: int) -> int:
        """Return the secret below the mask."""
        return self.masked ^ mask


def mask(shared: bytes, course: str, seal: str, centre: str) -> int:
    """Return the mask for one seal and one centre, from what central and the centre share."""
    about = f"seodang code 1\0{course}\0{seal}\0{centre}".encode()
    derived = HKDF(SHA256(), (SECRET_BITS + 7) // 8, None, about).derive(shared)
    return int.from_bytes(derived, "big") >> (-SECRET_BITS % 8)


def write_code(secret: int, over: int, seal: str, centre: str) -> str:
    """Return a code in five groups of five."""
    number = secret ^ over
    number = number << _SEAL_BITS | _mark("seal", seal, _SEAL_BITS)
    number = number << _CENTRE_BITS | _mark("centre", centre, _CENTRE_BITS)
    number = number << _CHECK_BITS | _check(number)
    letters = "".join(_LETTERS[number >> 5 * place & 31] for place in reversed(range(_LENGTH)))
    return "-".join(letters[at : at + _GROUP] for at in range(0, _LENGTH, _GROUP))


def read_code(text: str) -> Code:
    """Read a code as a person types it; raises BundleError that says what is wrong."""
    letters = text.upper().translate(_SEEN_AS)
    if len(letters) != _LENGTH or not set(letters) <= set(_LETTERS):
        raise BundleError(
            sentence(
                "An opening code has %(length)s letters and digits in five groups; this one has "
                "%(count)s.",
                length=_LENGTH,
                count=sum(letter in _LETTERS for letter in letters),
            )
        )
    number = 0
    for letter in letters:
        number = number << 5 | _LETTERS.index(letter)
    number, check = number >> _CHECK_BITS, number & (1 << _CHECK_BITS) - 1
    if check != _check(number):
        raise BundleError(sentence("The code was mistyped: compare it letter by letter."))
    number, centre = number >> _CENTRE_BITS, number & (1 << _CENTRE_BITS) - 1
    return Code(number >> _SEAL_BITS, number & (1 << _SEAL_BITS) - 1, centre)


def _mark(kind: str, text: str, bits: int) -> int:
    return _bits(f"{kind}\0{text}".encode(), bits)


def _check(number: int) -> int:
    return _bits(b"check\0" + number.to_bytes(16, "big"), _CHECK_BITS)


def _bits(content: bytes, bits: int) -> int:
    return int.from_bytes(sha256(content).digest()[:4], "big") >> (32 - bits)
