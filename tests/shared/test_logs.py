"""Log lines: one JSON object each, with the ids at hand."""

import json
import logging
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import logs

HEX = st.text("0123456789abcdef", min_size=32, max_size=32)
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def line(message: str = "said", **record: object) -> dict[str, str]:
    made = logging.LogRecord("robot", logging.INFO, __file__, 1, message, None, None)
    vars(made).update(record)
    written = logs.JsonFormatter().format(made)
    assert "\n" not in written
    found: dict[str, str] = json.loads(written)
    return found


@given(st.text())
def test_whatever_is_said_is_one_json_line(message: str) -> None:
    assert line(message)["message"] == message


def test_ids_are_on_every_line_of_their_block_and_on_no_other() -> None:
    with logs.ids(request="r", job="outer"):
        with logs.ids(job="inner"):
            assert (line()["request"], line()["job"]) == ("r", "inner")
        assert (line()["request"], line()["job"]) == ("r", "outer")
    assert not {"request", "job"} & set(line())


def test_a_traceback_is_part_of_the_line() -> None:
    try:
        raise ValueError("broken")
    except ValueError:
        assert line(exc_info=sys.exc_info())["traceback"].endswith("ValueError: broken")


@given(HEX.filter(lambda trace: set(trace) != {"0"}))
def test_the_trace_of_a_traceparent_is_read(trace: str) -> None:
    assert logs.trace_of(f"00-{trace}-{SPAN}-01") == {"trace": trace}


@pytest.mark.parametrize("header", [
    "", "x", f"00-{TRACE}-{SPAN}", f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01", f"ff-{TRACE}-{SPAN}-01",
    f"00-{TRACE.upper()}-{SPAN}-01", f"00-{TRACE}-{SPAN}-01\n", f"00-{TRACE}-{SPAN}-01x"])
def test_what_is_no_traceparent_says_nothing(header: str) -> None:
    assert logs.trace_of(header) == {}
