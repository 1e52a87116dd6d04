"""What waits for a viewer that speaks the Foxglove protocol and is too slow."""

import io

from hypothesis import given
from hypothesis import strategies as st

from tests.webapp.streams.test_websockets import server_frame
from workers import viewers
from workers.viewers import WAITING_BYTES, Waiting

MIB = 1 << 20
MESSAGE = b"\x01" + bytes(12)


@given(st.lists(st.tuples(st.sampled_from([10, MIB, 5 * MIB]), st.booleans()), max_size=30))
def test_the_newest_messages_and_all_else_wait_in_order(sizes: list[tuple[int, bool]]) -> None:
    waiting, frames = Waiting(), [(bytes(size), droppable) for size, droppable in sizes]
    for frame, droppable in frames:
        waiting.put(frame, droppable=droppable)
    waiting.close()
    taken = []
    while (frame := waiting.take()) is not None:
        taken.append(frame)
    places = [place for place, (frame, _) in enumerate(frames) if any(frame is each for each in taken)]
    assert [frames[place][0] for place in places] == taken
    lost = set(range(len(frames))) - set(places)
    messages = [place for place, (_, droppable) in enumerate(frames) if droppable]
    assert lost == set(messages[:len(lost)])
    others = sum(len(frame) for frame, droppable in frames if not droppable)
    newest = len(frames[-1][0]) if frames else 0
    assert sum(map(len, taken)) <= max(WAITING_BYTES, others + newest)
    if sum(size for size, _ in sizes) <= WAITING_BYTES:
        assert not lost


def test_a_recorded_message_may_be_missed_and_nothing_else() -> None:
    for size in (0, 200, 70_000):
        assert viewers._is_message(server_frame(MESSAGE + bytes(size)))
    for other in (server_frame(b"\x02" + bytes(8)), server_frame(b'{"op": "advertise"}', 1), server_frame(b"", 8),
                  server_frame(b"\x01", 9), server_frame(b"")):
        assert not viewers._is_message(other)


@given(st.lists(st.sampled_from([0, 1, 125, 126, 65_535, 65_536]), max_size=5))
def test_frames_are_read_whole(sizes: list[int]) -> None:
    said = [server_frame(bytes(size)) for size in sizes]
    source = io.BytesIO(b"".join(said))
    assert [viewers._frame(source) for _ in said] == said
