"""Where the frames of a WebSocket end, however its bytes come."""

from hypothesis import given
from hypothesis import strategies as st

from webapp.streams import websockets
from webapp.streams.websockets import HELD_BYTES, End, Frames, accept


def server_frame(payload: bytes, opcode: int = 2) -> bytes:
    size = len(payload)
    head = bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2, "big") if size < 1 << 16 \
        else b"\x7f" + size.to_bytes(8, "big")
    return bytes([0x80 | opcode]) + head + payload


SIZES = st.sampled_from([0, 1, 125, 126, 127, 65_535, 65_536, HELD_BYTES - 10, HELD_BYTES, 3 * HELD_BYTES])


@given(st.lists(SIZES, max_size=6), st.lists(st.integers(1, 100_000), min_size=1, max_size=20), st.data())
def test_nothing_is_lost_or_changed_and_small_frames_go_on_whole(
        sizes: list[int], pieces: list[int], data: st.DataObject) -> None:
    frames = [server_frame(bytes(size)) for size in sizes]
    ends, said = {0}, b""
    for each in frames:
        said += each
        ends.add(len(said))
    cut = data.draw(st.integers(0, len(said)))  # where the server dies
    seen, passed, place = Frames(), b"", 0
    for size in pieces * (1 + cut // sum(pieces)):
        passed += seen.feed(said[place:min(place + size, cut)])
        place += size
        assert passed == said[:len(passed)]
        assert seen.whole == (len(passed) in ends)
    if cut == len(said):
        assert passed == said
    last = max(end for end in ends if end <= cut)
    assert len(passed) >= last
    if len(passed) > last:
        assert min(end for end in ends if end > last) - last > HELD_BYTES


def test_a_close_is_seen_wherever_it_is_cut_and_handed_on_if_it_says_why() -> None:
    message = server_frame(b"x" * 200)
    for reason in (b"", b"\x03\xea"):
        close = server_frame(reason, websockets.CLOSE)
        said = message + close
        for cut in range(len(said)):
            frames = Frames()
            passed = frames.feed(said[:cut])
            assert not frames.closed
            passed += frames.feed(said[cut:])
            assert passed == message + (close if reason else b"")
            assert (frames.closed, frames.whole) == (bool(reason), True)


def test_it_is_answered_as_the_standard_says() -> None:
    assert accept("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert End(1012, "again").frame == b"\x88\x07\x03\xf4again"
