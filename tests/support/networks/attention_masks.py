"""What a layout lets each query see, counted out: the fast ways are held against it."""

from models.packing import AttentionLayout


def seen(layout: AttentionLayout, query: int) -> list[tuple[int, int]]:
    """(source, key) of every key that a query sees, in the order of the layout."""
    keys = [
        (branch.source, key)
        for branch in layout.branches
        if branch.queries[0] <= query < branch.queries[1]
        for key in range(*branch.keys)
    ]
    for run in layout.runs:
        if run.queries[0] <= query < run.queries[1]:
            causal = run.queries[1] - run.queries[0] == run.keys[1] - run.keys[0]
            stop = run.keys[0] + query - run.queries[0] + 1 if causal else run.keys[1]
            keys += [(0, key) for key in range(run.keys[0], stop)]
    return keys
