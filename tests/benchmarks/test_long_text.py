"""The benchmark of long texts: what it writes."""

from benchmarks.long_text import Figures, table


def test_parts_are_compared_with_one_batch_in_the_same_round() -> None:
    whole = Figures([10.0, 20.0], [12.0, 22.0], [9.0, 9.0], [100.0, 90.0])
    parts = Figures([11.0, 22.0], [13.0, 24.0], [0.1, 0.3], [50.0, 60.0])

    header, *rows = table({(8192, "as one batch"): whole, (8192, "in parts"): parts})

    assert [row[:4] for row in rows] == [["8,192", "as one batch", "15", "1.00"], ["8,192", "in parts", "16.5", "1.10"]]
    assert rows[1][5:] == ["2", "200", "298", "50", "60"]
    assert len(header) == len(rows[0])
