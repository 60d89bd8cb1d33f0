# ruff: noqa: NPY002, PLW0108 (the global generators are what this is about)
"""A glance at the global random states notices every draw and every seed."""

import random
from collections.abc import Callable

import numpy as np
import pytest

from lms.outposts.kernels.carried import RandomState


@pytest.mark.parametrize(
    "act",
    [
        lambda: random.random(),  # noqa: S311
        lambda: random.seed(5),
        lambda: random.gauss(0, 1),
        lambda: np.random.rand(),
        lambda: np.random.seed(5),
        lambda: np.random.normal(),
        lambda: np.random.shuffle([1, 2, 3]),
    ],
)
def test_draws_and_seeds_are_noticed(act: Callable[[], object]) -> None:
    states = RandomState()
    assert states.changed() == {}
    act()
    assert states.changed()
    assert states.changed() == {}


def test_second_of_a_pair_of_normal_numbers_is_noticed() -> None:
    states = RandomState()
    np.random.seed(1)
    np.random.normal()
    states.mark()
    np.random.normal()
    assert "numpy" in states.changed()


def test_states_go_over_and_back() -> None:
    states = RandomState()
    random.seed(7)
    np.random.seed(8)
    told = states.changed()
    expected = (random.random(), np.random.rand())  # noqa: S311
    states.set(told)
    assert (random.random(), np.random.rand()) == expected  # noqa: S311
    states.forget()
    assert set(states.changed()) == {"random", "numpy"}
