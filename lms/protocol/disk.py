"""What the compute broker says of people's homes: how full each is."""

from dataclasses import asdict, dataclass
from typing import Self

#: A home that is fuller than this is worth a word.
NEARLY_FULL = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class HomeUse:
    """How much of its allowance a person's home takes."""

    username: str
    used_bytes: int
    #: 0 means no limit.
    limit_bytes: int
    #: When it was measured, in seconds since the epoch.
    measured_at: float
    #: False when looking through all of it would have taken too long: it is at least that much.
    complete: bool = True
    #: The file system itself refuses more.
    enforced: bool = False

    @property
    def share(self) -> float:
        """How full it is: 1.0 is all that is allowed, and more is possible where only measured."""
        return self.used_bytes / self.limit_bytes if self.limit_bytes else 0.0

    @property
    def is_nearly_full(self) -> bool:
        """Whether its owner should be told."""
        return self.share > NEARLY_FULL

    def to_json(self) -> dict[str, object]:
        """Return it as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Rebuild it; raises ValueError on anything that is not one."""
        try:
            given = dict(value)  # type: ignore[call-overload]
            return cls(
                username=str(given["username"]),
                used_bytes=int(given["used_bytes"]),
                limit_bytes=int(given["limit_bytes"]),
                measured_at=float(given["measured_at"]),
                complete=given["complete"] is True,
                enforced=given["enforced"] is True,
            )
        except (KeyError, TypeError) as error:
            raise ValueError("a home's use names person, bytes, limit and time") from error
