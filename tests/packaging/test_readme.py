"""The README tells the truth about the defaults."""

from tests.packaging.limits import README, with_table


def test_the_table_of_limits_is_that_of_the_settings() -> None:
    assert with_table(README.read_text()) == README.read_text(), "run: python -m tests.packaging.limits"
