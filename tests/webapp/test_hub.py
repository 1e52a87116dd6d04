from webapp.hub import Frame, Mailbox, frame


def test_a_mailbox_gives_events_in_order_and_progress_after_them() -> None:
    box = Mailbox()
    box.put([Frame(1, b"1")], [])
    box.put_progress("a", Frame(None, b"old"))
    box.put_progress("a", Frame(None, b"new"))
    box.put_progress("b", Frame(None, b"b"))
    box.put([Frame(2, b"2")], ["b"])
    assert box.take(0) == [Frame(1, b"1"), Frame(2, b"2"), Frame(None, b"new")]
    assert box.take(0) == []


def test_a_closed_mailbox_gives_nothing_more() -> None:
    box = Mailbox()
    box.put([Frame(1, b"1")], [])
    box.close()
    assert box.take(0) is None


def test_a_mailbox_that_runs_over_is_closed_not_thinned(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr("webapp.hub.MAILBOX_SIZE", 2)
    box = Mailbox()
    box.put([Frame(1, b""), Frame(2, b"")], [])
    assert box.take(0) is not None
    box.put([Frame(3, b""), Frame(4, b""), Frame(5, b"")], [])
    assert box.take(0) is None


def test_a_frame_is_one_line_of_data() -> None:
    made = frame("transition", {"message": "a\nb\r\n\u2028c"}, 7)
    assert made.data.startswith(b"id: 7\nevent: transition\ndata: ")
    assert made.data.endswith(b"\n\n") and made.data.count(b"\n") == 4 and b"\r" not in made.data
    assert frame("progress", {}).data == b"event: progress\ndata: {}\n\n"
