"""The mask of a layout, written out: the reference for the fast implementations."""

from models.packing import AttentionLayout


def seen(layout: AttentionLayout, query: int) -> list[tuple[int, int]]:
    """(source, key) of every key that a query sees, in the order of the layout."""
    keys = [
        (branch.source, key)
        for branch in layout.branches
        if branch.queries[0] <= query < branch.queries[1]
        for key in range(*branch.keys)
    ]
    for segment in layout.segments:
        if segment.queries[0] <= query < segment.queries[1]:
            causal = segment.queries[1] - segment.queries[0] == segment.keys[1] - segment.keys[0]
            stop = segment.keys[0] + query - segment.queries[0] + 1 if causal else segment.keys[1]
            keys += [(0, key) for key in range(segment.keys[0], stop)]
    return keys
