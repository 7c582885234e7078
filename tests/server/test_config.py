"""One configuration out of flags, environment and file."""

from pathlib import Path

import pytest

from callboard.server.config import OPTIONS, ConfigError, ServerConfig, StageSpec, load


def test_nothing_said_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load({}, {}) == ServerConfig()


def test_every_option_is_a_field() -> None:
    assert {option.name for option in OPTIONS} == set(ServerConfig.__struct_fields__) - {"settings", "dispatching"}


def test_flags_come_before_environment_before_file(tmp_path: Path) -> None:
    file = tmp_path / "callboard.toml"
    file.write_text('listen = "127.0.0.1:1"\ndrain_seconds = 1\nlog_format = "json"\nhandlers = ["a.b", "c"]\n')
    environment = {"CALLBOARD_LISTEN": "127.0.0.1:2", "CALLBOARD_DRAIN_SECONDS": "2.5"}
    config = load({"listen": "127.0.0.1:3", "handlers": ()}, environment, file)
    assert (config.listen, config.drain_seconds, config.log_format) == ("127.0.0.1:3", 2.5, "json")
    assert config.handlers == ("a.b", "c")


def test_several_values_in_one_variable() -> None:
    assert load({}, {"CALLBOARD_HANDLERS": "a.b, c"}).handlers == ("a.b", "c")


CHECK = StageSpec("publish", False, "record", "rules.names", "check")
TELL = StageSpec("retract", True, "announce", "hooks", "Hook.tell")


def test_stages_are_named_with_their_place(tmp_path: Path) -> None:
    texts = (str(CHECK), str(TELL))
    assert texts == ("publish:before:record=rules.names:check", "retract:after:announce=hooks:Hook.tell")
    file = tmp_path / "callboard.toml"
    file.write_text(f"stages = {list(texts)}")
    assert load({"stages": texts}, {}).stages == (CHECK, TELL)
    assert load({}, {"CALLBOARD_STAGES": ", ".join(texts)}).stages == (CHECK, TELL)
    assert load({}, {}, file).stages == (CHECK, TELL)


@pytest.mark.parametrize(
    "text",
    [
        "publish",
        "publish:record=rules:check",
        "publish:within:record=rules:check",
        "publish:before:record=rules",
        "publish:before:record=rules:",
        "publish:before:record=rules:check()",
        "Publish:before:record=rules:check",
    ],
)
def test_a_stage_that_is_not_named_so_is_refused_with_the_form_it_takes(text: str) -> None:
    with pytest.raises(ConfigError) as error:
        load({"stages": (text,)}, {})
    assert str(error.value).startswith(f"--stage: {text!r} is not of the form <chain>:<before|after>:<stage>=")


def test_limits_are_set_by_name(tmp_path: Path) -> None:
    file = tmp_path / "callboard.toml"
    file.write_text("[limits]\npayload_bytes_max = 1\nlive_actors_max = 2\nlease_seconds = 1.5\n")
    environment = {"CALLBOARD_LIMIT": "live_actors_max=3,kept_events_max=7"}
    config = load({"limit": ("live_actors_max=4",)}, environment, file)
    assert (config.settings.payload_bytes_max, config.settings.live_actors_max) == (1, 4)
    assert config.settings.decisions.kept_events_max == 7
    assert config.dispatching.lease_seconds == 1.5


@pytest.mark.parametrize("limit", ["mailbox_commands_max=0", "ping_interval_seconds=0", "live_actors_max=-1"])
def test_limits_that_would_stop_the_server_are_refused(limit: str) -> None:
    with pytest.raises(ConfigError, match=limit.partition("=")[0]):
        load({"limit": (limit,)}, {})


def test_limits_at_which_zero_means_none() -> None:
    config = load({"limit": ("kept_events_max=0", "reconnect_grace_seconds=0")}, {})
    assert (config.settings.decisions.kept_events_max, config.dispatching.reconnect_grace_seconds) == (0, 0.0)


def test_all_mistakes_are_told_at_once_with_their_places(tmp_path: Path) -> None:
    file = tmp_path / "my.toml"
    file.write_text('# a comment\nlog_format = "xml"\nnonsense = 1\n\n[limits]\nnope = 1\n')
    environment = {"CALLBOARD_DRAIN_SECONDS": "soon", "CALLBOARD_LIMIT": "broken"}
    with pytest.raises(ConfigError) as error:
        load({"listen": "nowhere", "handlers": ("a-b",)}, environment, file)
    text = str(error.value)
    for place in (
        "--listen: ",
        "--handlers: ",
        "CALLBOARD_DRAIN_SECONDS: ",
        "CALLBOARD_LIMIT: ",
        f"{file}:2: log_format: ",
        f"{file}:3: nonsense: ",
        f"{file}:6: limits.nope: ",
    ):
        assert place in text


@pytest.mark.parametrize("listen", ["127.0.0.1:70000", "7519", "a b:1", ":1", "unix:"])
def test_addresses_that_cannot_be_listened_on(listen: str) -> None:
    with pytest.raises(ConfigError):
        load({"listen": listen}, {})


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "localhost:7519", "[::1]:7519", "unix:/run/callboard.sock"])
def test_addresses_that_can(listen: str) -> None:
    assert load({"listen": listen}, {}).listen == listen


def test_a_file_that_was_named_must_be_there_and_readable(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load({}, {}, tmp_path / "nope.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("listen = \n")
    with pytest.raises(ConfigError, match="line 1"):
        load({}, {}, broken)
