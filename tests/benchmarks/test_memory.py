"""The benchmark of memory: what it reads, its table and its picture."""

import os
import random
from xml.etree import ElementTree as ET

from benchmarks.memory import LIMIT_MB, Sample, a_request, draw, resident_mb, table

SAMPLES = [Sample(0.0, 280.0, 80.0), Sample(2.0, 380.0, 82.0), Sample(4.0, 350.0, 81.0)]


def test_the_table_tells_start_most_and_end_of_each_process() -> None:
    assert table(SAMPLES)[1:] == [["engine", "280", "100", "70"], ["HTTP", "80", "2", "1"]]


def test_the_picture_has_both_lines_and_the_limit() -> None:
    picture = ET.fromstring(draw(SAMPLES))

    lines = [element for element in picture if element.tag.endswith("polyline")]
    assert len(lines) == 2
    assert f"limit {LIMIT_MB} MB" in draw(SAMPLES)


def test_memory_and_requests_are_real() -> None:
    assert resident_mb(os.getpid()) > 1
    assert a_request(random.Random(0)).startswith(b"POST /v1/embeddings")
