"""The numbers of one process's metrics in shared memory."""

from server.observability.metric_page import MetricPage


def _entries(memory: bytearray) -> dict[tuple[str, ...], list[float]]:
    return {key: values.tolist() for key, values in MetricPage(memoryview(memory)).entries()}


def test_what_is_written_can_be_read_from_the_memory_alone() -> None:
    memory = bytearray(1000)
    page = MetricPage(memoryview(memory))

    page.values(("requests", "/v1/embeddings", "200"), 1)[0] += 2
    page.values(("seconds", "ü"), 3)[2] = 0.5
    page.values(("requests", "/v1/embeddings", "200"), 1)[0] += 1

    assert _entries(memory) == {("requests", "/v1/embeddings", "200"): [3.0], ("seconds", "ü"): [0.0, 0.0, 0.5]}


def test_the_next_process_goes_on_with_the_values_of_the_one_before() -> None:
    memory = bytearray(1000)
    MetricPage(memoryview(memory)).values(("requests",), 1)[0] = 5

    MetricPage(memoryview(memory)).values(("requests",), 1)[0] += 1

    assert _entries(memory) == {("requests",): [6.0]}


def test_a_page_that_is_full_loses_new_entries_and_keeps_the_others() -> None:
    memory = bytearray(64)
    page = MetricPage(memoryview(memory))

    page.values(("requests",), 1)[0] = 1
    page.values(("a name that does not fit any more",), 1)[0] = 1
    page.values(("requests",), 1)[0] += 1

    assert _entries(memory) == {("requests",): [2.0]}
