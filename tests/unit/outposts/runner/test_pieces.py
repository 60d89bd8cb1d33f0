"""The pieces of feedback pages: kept within bounds, and put only where the page says."""

from concurrent.futures import ThreadPoolExecutor

from lms.outposts.runner.pieces import Store, Tokens


class Maker:
    """Makes capitals, and remembers of what."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.made: list[str] = []

    def get(self, source: str, kind: str = "") -> str:
        def make() -> str:
            self.made.append(kind + source)
            return kind + source.upper()

        return self._store.get(kind, source, make)


def test_a_piece_is_made_once_for_each_kind_and_source() -> None:
    maker = Maker(Store())
    assert [maker.get("x", "a"), maker.get("x", "a"), maker.get("x", "b")] == ["aX", "aX", "bX"]
    assert maker.made == ["ax", "bx"]


def test_a_store_lets_go_of_what_was_not_used_for_longest() -> None:
    maker = Maker(Store(kept=40, largest=10))
    for letter in "abacab":
        assert maker.get(letter * 8) == letter.upper() * 8
    assert [source[0] for source in maker.made] == ["a", "b", "c", "b"]


def test_a_large_piece_is_not_kept() -> None:
    maker = Maker(Store(kept=100, largest=10))
    for _ in range(2):
        maker.get("x" * 11)
        maker.get("y", "long kind of piece")
    assert len(maker.made) == 4


def test_a_store_serves_many_threads() -> None:
    store = Store(kept=2_000, largest=100)

    def get(number: int) -> bool:
        source = str(number % 50) * 10
        return store.get("", source, source.upper) == source.upper()

    with ThreadPoolExecutor(max_workers=8) as pool:
        assert all(pool.map(get, range(2_000)))


def test_only_a_pages_own_tokens_are_filled() -> None:
    mine, theirs = Tokens(), Tokens()
    first, second = mine.put("<b>1</b>"), mine.put(theirs.put("x"))
    page = mine.fill(f"{second} [0] {theirs.put('y')} {first}{first}")
    assert page.endswith("<b>1</b><b>1</b>")
    assert "y" not in page
    assert "[0]" in page
