"""What every grading test needs: a sandbox to start kernels in."""

import pytest

from lms.outposts.broker.launcher import DirectLauncher


@pytest.fixture(scope="session")
def launcher() -> DirectLauncher:
    return DirectLauncher()
