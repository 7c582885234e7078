"""What is imported from users, and what is said when it cannot be."""

from pathlib import Path

import pytest

from callboard.server.config import StageSpec
from callboard.server.loading import ServeError, load_handlers, load_stages

MODULE = """
def check(value):
    return None

class Hook:
    tell = staticmethod(check)

def alone():
    return None

word = "no function"
"""


@pytest.fixture(autouse=True)
def rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of the user's in the working directory, which another test's import must not hide."""
    (tmp_path / "rules_of_loading.py").write_text(MODULE)
    (tmp_path / "broken_rules.py").write_text("import no_such_module_here\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))


def spec(function: str, module: str = "rules_of_loading") -> StageSpec:
    return StageSpec("publish", False, "record", module, function)


def test_stages_are_what_their_names_say() -> None:
    check, tell = load_stages((spec("check"), spec("Hook.tell")))
    assert (check.chain, check.place, check.after) == ("publish", "record", False)
    assert (check.name, tell.name) == ("rules_of_loading:check", "rules_of_loading:Hook.tell")
    assert check.call is tell.call


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (spec("check", "no_such_rules"), "no_such_rules cannot be imported: ModuleNotFoundError"),
        (spec("check", "broken_rules"), "broken_rules cannot be imported: ModuleNotFoundError"),
        (spec("nope"), "has no attribute 'nope'"),
        (spec("Hook.nope"), "has no attribute 'nope'"),
        (spec("alone"), "alone has to take one argument, the value of its place"),
        (spec("word"), "word is no function but a str"),
    ],
)
def test_a_stage_that_is_not_there_ends_the_start_with_one_line(wrong: StageSpec, said: str) -> None:
    with pytest.raises(ServeError) as error:
        load_stages((wrong,))
    text = str(error.value)
    assert text.startswith(f"--stage {wrong}: ")
    assert said in text
    assert "\n" not in text


def test_a_module_without_handlers_ends_the_start_with_one_line() -> None:
    with pytest.raises(ServeError, match="--handlers rules_of_loading: the module has no `operations`"):
        load_handlers(("rules_of_loading",))
