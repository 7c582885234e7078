"""What every test folder shares: how hypothesis searches, and where the repository is."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# The shared contract suites hold assertions but are imported, not collected.
pytest.register_assert_rewrite("tests.contracts")

# No deadline: on a busy machine it fails a slow example, not a wrong one. In CI the same examples run every time, so
# that a red run is red for everybody; `HYPOTHESIS_PROFILE=thorough` searches further.
settings.register_profile("default", deadline=None, max_examples=100)
settings.register_profile("ci", settings.get_profile("default"), derandomize=True, print_blob=True)
settings.register_profile(
    "thorough", settings.get_profile("default"), max_examples=2000, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "default"))

_REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout, wherever the tests were started from."""
    return _REPOSITORY
