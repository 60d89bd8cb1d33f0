"""NVIDIA's management library as a module object, over cards that a test describes."""

from dataclasses import dataclass, field
from types import SimpleNamespace


class NVMLError(Exception):
    """What the library raises."""


@dataclass(slots=True, kw_only=True)
class Card:
    """One card; `parts` are its MIG devices, None where the card cannot be cut."""

    uuid: str
    minor: int = 0
    name: str = "NVIDIA A100"
    memory: int = 40 << 30
    parts: "list[Card | None] | None" = None
    broken: bool = False
    #: What processes used, as the library tells it.
    samples: list[SimpleNamespace] = field(default_factory=list)


@dataclass(slots=True)
class FakeNvml:
    """The functions that the inventory calls, with the real ones' names."""

    cards: list[Card] = field(default_factory=list)
    fails: str = ""
    is_open: bool = False

    NVMLError = NVMLError

    def nvmlInit(self) -> None:  # noqa: N802
        if self.fails:
            raise NVMLError(self.fails)
        self.is_open = True

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.is_open = False

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.cards)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Card:  # noqa: N802
        if self.cards[index].broken:
            raise NVMLError("GPU is lost")
        return self.cards[index]

    def nvmlDeviceGetUUID(self, card: Card) -> str:  # noqa: N802
        return card.uuid

    def nvmlDeviceGetName(self, card: Card) -> bytes:  # noqa: N802
        return card.name.encode()

    def nvmlDeviceGetMemoryInfo(self, card: Card) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(total=card.memory)

    def nvmlDeviceGetMinorNumber(self, card: Card) -> int:  # noqa: N802
        return card.minor

    def nvmlDeviceGetMigMode(self, card: Card) -> tuple[int, int]:  # noqa: N802
        if card.parts is None:
            raise NVMLError("Not Supported")
        return int(bool(card.parts)), 0

    def nvmlDeviceGetMaxMigDeviceCount(self, card: Card) -> int:  # noqa: N802
        return len(card.parts or ())

    def nvmlDeviceGetMigDeviceHandleByIndex(self, card: Card, number: int) -> Card:  # noqa: N802
        part = (card.parts or [])[number]
        if part is None:
            raise NVMLError("Not Found")
        return part

    def nvmlDeviceGetGpuInstanceId(self, _card: Card) -> int:  # noqa: N802
        return 1

    def nvmlDeviceGetComputeInstanceId(self, _card: Card) -> int:  # noqa: N802
        return 0

    def nvmlDeviceGetProcessUtilization(  # noqa: N802
        self, card: Card, since: int
    ) -> list[SimpleNamespace]:
        found = [sample for sample in card.samples if sample.timeStamp > since]
        if not found or card.parts is not None:
            raise NVMLError("Not Found")
        return found
