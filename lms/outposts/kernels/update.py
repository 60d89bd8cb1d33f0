"""Doing to a test's own container what the student's function did to its copy."""

import random
import sys
from collections import deque
from typing import Any


def update(old: Any, new: Any) -> bool:  # noqa: ANN401 (any two containers)
    """Make `old` hold what `new` holds, in place; False when that cannot be done."""
    if type(old) is not type(new):
        return False
    if isinstance(old, (list, bytearray)):
        old[:] = new
    elif isinstance(old, dict):
        dict.clear(old)
        dict.update(old, new)
    elif isinstance(old, (set, deque)):
        old.clear()
        _refill(old, new)
    elif isinstance(old, random.Random):
        old.setstate(new.getstate())
    else:
        return _update_foreign(old, new)
    return True


def _refill(old: Any, new: Any) -> None:  # noqa: ANN401 (a set or a deque)
    if isinstance(old, set):
        old.update(new)
    else:
        old.extend(new)


def _update_foreign(old: Any, new: Any) -> bool:  # noqa: ANN401 (any two containers)
    package = type(old).__module__.partition(".")[0]
    if package == "numpy":
        return _update_numpy(old, new)
    if package == "pandas":
        old._update_inplace(new)  # noqa: SLF001 (what pandas' own in-place methods use)
        return True
    if package == "torch":
        return _update_torch(old, new)
    if hasattr(old, "__dict__"):
        vars(old).clear()
        vars(old).update(vars(new))
        return True
    return False


def _update_numpy(old: Any, new: Any) -> bool:  # noqa: ANN401 (arrays or generators)
    numpy = sys.modules["numpy"]
    if isinstance(old, numpy.random.Generator):
        old.bit_generator.state = new.bit_generator.state
        return True
    if isinstance(old, numpy.random.RandomState):
        old.set_state(new.get_state(legacy=True))
        return True
    if not isinstance(old, numpy.ndarray) or old.dtype != new.dtype:
        return False
    if old.shape != new.shape:
        if old.size != new.size:
            return False
        old.shape = new.shape
    writeable = old.flags.writeable
    if not writeable:
        old.flags.writeable = True
    old[...] = new
    old.flags.writeable = new.flags.writeable
    return True


def _update_torch(old: Any, new: Any) -> bool:  # noqa: ANN401 (tensors)
    torch = sys.modules["torch"]
    if old.shape != new.shape or old.dtype != new.dtype:
        return False
    with torch.no_grad():
        old.copy_(new)
    old.grad = new.grad
    return True
