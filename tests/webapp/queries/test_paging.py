from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webapp.problems import BadRequest
from webapp.queries.paging import Page, cut, decode, encode


@given(st.lists(st.integers() | st.text(st.characters(exclude_categories=["Cs"]))))
def test_a_cursor_reads_as_it_was_written(key: list[object]) -> None:
    assert decode(encode(key), lambda *parts: list(parts)) == key


@given(st.text(max_size=60))
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        decode(text, lambda first, second, third: UUID(first))


@given(st.integers(1, 5), st.integers(0, 6))
def test_there_is_a_next_page_only_while_rows_are_left(limit: int, rows: int) -> None:
    page, following = cut(list(range(rows))[:limit + 1], Page(limit), lambda row: [row])  # type: ignore[arg-type]
    assert len(page) == min(rows, limit)
    assert (following is not None) is (rows > limit)
