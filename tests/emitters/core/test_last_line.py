"""The last line that says something becomes a task's message."""

from emitters.core.last_line import MAX_LINE_CHARS, LastLine


def test_pieces_of_any_size_make_lines() -> None:
    lines = LastLine()
    assert [lines.feed(bytes([byte])) for byte in "ä\nb".encode()] == [None, None, "ä", None]
    assert lines.finish() == "b"


def test_only_the_last_of_several_lines_counts_and_blank_ones_do_not() -> None:
    assert LastLine().feed(b"one\ntwo\n\n   \n") == "two"


def test_a_progress_bar_ends_its_lines_with_carriage_returns() -> None:
    assert LastLine().feed(b" 10%\r 20%\r 30%") == "20%"


def test_colours_and_control_characters_are_left_out() -> None:
    assert LastLine().feed(b"\x1b[1;31mred\x1b[0m\x07 \x1b]0;title\x07text\n") == "red text"


def test_output_that_is_not_utf8_and_lines_without_end() -> None:
    lines = LastLine()
    assert lines.feed(b"\xff\xfe ok\n") == "�� ok"
    for _ in range(100):
        assert lines.feed(b"x" * 10_000) is None
    last = lines.finish()
    assert last is not None
    assert len(last) == MAX_LINE_CHARS + 1


def test_a_line_of_the_greatest_length_is_whole_and_a_longer_one_is_cut() -> None:
    whole = "x" * MAX_LINE_CHARS
    assert LastLine().feed(f"{whole}\n".encode()) == whole
    assert LastLine().feed(f"{whole}y\n".encode()) == f"{whole}…"


def test_of_a_line_without_an_end_the_newest_2000_characters_are_kept() -> None:
    lines = LastLine()
    lines.feed(b"old" + b"x" + b"y" * 1999)
    last = lines.finish()
    assert last is not None
    assert last.startswith("xy")


def test_of_a_whole_line_the_first_2000_characters_are_looked_at() -> None:
    assert LastLine().feed(b" " * 1999 + b"xy\n") == "x"
    assert LastLine().feed(b"before\n" + b" " * 2000 + b"x\n") == "before"
