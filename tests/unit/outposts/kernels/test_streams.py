"""What stands between a notebook's prints and the line."""

from lms.outposts.kernels.streams import LineSession, Publisher


def test_what_every_flush_sets_is_no_trait() -> None:
    # Setting a trait swallows the exception of a signal handler that runs meanwhile.
    assert "pid" not in LineSession.class_traits()
    session = LineSession(publisher=Publisher())
    session.pid = 7
    assert session.pid == 7
