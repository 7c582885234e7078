"""The filter language: what is understood, and what is refused where."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.runtime.core.refusals import Refused
from callboard.runtime.filter_text import parse_filter
from callboard.runtime.filters import (
    EVERYTHING,
    NOTHING,
    All,
    Among,
    Begins,
    Compared,
    Either,
    Filter,
    Incident,
    LabelBegins,
    Labelled,
    Not,
    Step,
    StepBegins,
)

T = 1_763_000_000_000_000
TIME = 'timestamp("2025-11-13T02:13:20Z")'
RUNNING, FAILED = Among("status", ("RUNNING",)), Among("status", ("FAILED",))
PAID = Among("state", ("paid",))
BEGUN = Among("status", ("RUNNING", "REVERTING", "COMPLETED", "FAILED", "REVERTED", "CANCELLED", "TERMINATED"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", EVERYTHING),
        ("  ", EVERYTHING),
        ("true", EVERYTHING),
        ("!true", NOTHING),
        ('status == "RUNNING"', RUNNING),
        ('"RUNNING" == status', RUNNING),
        ("status in ['FAILED', 'RUNNING', 'FAILED']", Among("status", ("FAILED", "RUNNING"))),
        ("status != 'PENDING'", BEGUN),
        ('state == "paid" && definition_id == "d"', All((PAID, Among("definition_id", ("d",))))),
        ('state == ""', Among("state", ("",))),
        ('state != "paid"', Not(PAID)),
        ('execution_id.startsWith("o-")', Begins("execution_id", "o-")),
        ("version == 3", Compared("version", "==", 3)),
        ("3 < version", Compared("version", ">", 3)),
        ("version in [1, 2]", Either((Compared("version", "==", 1), Compared("version", "==", 2)))),
        ('labels.team == "x"', Labelled("team", ("x",))),
        ('"x" == labels["a/b"]', Labelled("a/b", ("x",))),
        ('labels["a"] in ["x", \'y"z\']', Labelled("a", ("x", 'y"z'))),
        ('labels.team != "x"', Not(Labelled("team", ("x",)))),
        ('labels.team.startsWith("x")', LabelBegins("team", "x")),
        ('"team" in labels', Labelled("team", None)),
        ("has(labels.team)", Labelled("team", None)),
        ('!("team" in labels)', Not(Labelled("team", None))),
        (r'state == "a\"bé"', Among("state", ('a"bé',))),
        ("incident", Incident()),
        ("!incident", Not(Incident())),
        ("!!incident", Incident()),
        ("incident == false", Not(Incident())),
        ("true == incident", Incident()),
        ("incident != true", Not(Incident())),
        (f"created_at > {TIME}", Compared("created_at", ">", T)),
        (f"started_at <= {TIME}", All((BEGUN, Compared("created_at", "<=", T)))),
        ('updated_at < timestamp("2025-11-13T03:13:20+01:00")', Compared("updated_at", "<", T)),
        (f"{TIME} >= updated_at", Compared("updated_at", "<=", T)),
        (f"ended_at < {TIME}", All((Compared("ended_at", ">", 0), Compared("ended_at", "<", T)))),
        ('operation == "s.op"', Step("operation", ("s.op",))),
        ('operation.startsWith("s.")', StepBegins("operation", "s.")),
        ('event in ["paid", "sent"]', Step("event", ("paid", "sent"))),
        ('waiting_on == "RETRY"', Step("waiting_on", ("RETRY",))),
        ('waiting_on in ["QUEUE", "TIMER", "WORKER"]', Step("waiting_on", ("TASK", "TIMER"))),
    ],
)
def test_what_is_understood(text: str, expected: Filter) -> None:
    assert parse_filter(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('incident || status == "FAILED" && state == "paid"', Either((Incident(), All((FAILED, PAID))))),
        ('(incident || status == "FAILED") && state == "paid"', All((Either((Incident(), FAILED)), PAID))),
        ('!(incident || state == "paid")', All((Not(Incident()), Not(PAID)))),
        ('!(incident && !(state == "paid"))', Either((Not(Incident()), PAID))),
        ("!(version < 3)", Compared("version", ">=", 3)),
        ('!incident && state == "paid" && incident', All((Not(Incident()), PAID, Incident()))),
        ('((state == "paid"))', PAID),
        ('(state == "paid") == false', Not(PAID)),
        (f"!(ended_at < {TIME})", Either((Compared("ended_at", "<=", 0), Compared("ended_at", ">=", T)))),
    ],
)
def test_logic_is_that_of_cel(text: str, expected: Filter) -> None:
    assert parse_filter(text) == expected


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ('status == "DONE"', 11, "there is no status"),
        ('status = "RUNNING"', 8, "'=' is not understood"),
        ('status < "RUNNING"', 8, "cannot be compared by '<'"),
        ('status == "RUNNING" | incident', 21, "'|'"),
        ('stat == "RUNNING"', 1, "no field 'stat'"),
        ("paused", 1, "no field 'paused'"),
        ('status == "RUNNING" &&', 23, "ends in the middle"),
        ("status ==", 10, "ends in the middle"),
        ("status", 7, "expected a comparison of status, the filter ends"),
        ('status == "RUNNING" incident', 21, "expected && or ||"),
        ("&& incident", 1, "cannot begin"),
        ("(incident", 10, "ends in the middle"),
        ("incident)", 9, "expected && or ||"),
        ("version == 1.5", 12, "not understood"),
        ('version == "1"', 12, "whole numbers"),
        ("version == 99999999999999999999999", 12, "up to 2^63"),
        ("state == 1", 10, "compared with strings"),
        ('"a" == "b"', 1, "a comparison is of a field"),
        ("labels.team", 12, "expected a comparison"),
        ("labels[team] == 'x'", 8, "expected a string"),
        ("1 in labels", 1, "a label's name"),
        ("has(state)", 5, "has(...) takes labels.name"),
        ("size(labels) == 1", 1, "no field 'size'"),
        ('state.endsWith("x")', 7, "'endsWith' is not a function"),
        ('status.startsWith("R")', 8, "status has no startsWith"),
        ('!state == "paid"', 2, "! stands before a condition"),
        ("incident < true", 10, "cannot be compared by"),
        ('incident == "yes"', 13, "compared with true or false"),
        ("incident == incident", 13, "compared with true or false"),
        ('started_at > "2025-11-13T02:13:20Z"', 14, "compared with timestamp"),
        ('started_at > timestamp("soon")', 24, "not an RFC 3339 time"),
        ('started_at > timestamp("2025-11-13T02:13:20")', 24, "no time zone"),
        ('state == "open', 10, "is not understood"),
        (r'state == "\ud800"', 10, "not Unicode"),
        (r'state == "\u0000"', 10, "without zeros"),
        ("status in []", 12, "expected a value"),
        ("status in [status]", 12, "expected a value"),
        ('status in ["RUNNING"', 21, "ends in the middle"),
        ('waiting_on == "QUEUE"', 15, "only together"),
        ('waiting_on == "EVENT"', 15, "use event"),
        ('waiting_on == "RESOLUTION"', 15, "use incident"),
        ('waiting_on == "STEPS"', 15, "not 'STEPS'"),
        ("(" * 33 + "incident" + ")" * 33, 33, "nested deeper"),
        (" || ".join(["incident"] * 101), 1201, "more than 100 conditions"),
        (f"version in [{','.join(['1'] * 101)}]", 12, "more than 100 values"),
        ("x" * 5000, 4097, "longer than"),
    ],
)
def test_what_is_refused_and_where(text: str, column: int, message: str) -> None:
    with pytest.raises(Refused) as caught:
        parse_filter(text)
    refusal = caught.value.refusal
    assert refusal.reason == "INVALID_FILTER"
    assert message in refusal.message
    assert "supported are" in refusal.message
    assert (refusal.violations[0].column, refusal.metadata["column"]) == (column, str(column))


WORDS = "status version labels incident timestamp in has startsWith 'RUNNING' 1 true ( ) [ ] ! . , < > && || == !="
PIECES = st.sampled_from(WORDS.split())


@given(st.text() | st.lists(PIECES, max_size=12).map(" ".join))
def test_any_text_is_understood_or_refused(text: str) -> None:
    try:
        parse_filter(text)
    except Refused as refused:
        assert refused.refusal.reason == "INVALID_FILTER"
