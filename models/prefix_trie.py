"""A trie over what sorted items have in common, without the prefixes that are not worth sharing. Pure: no torch."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class SharingCosts:
    """What it costs to compute a prefix once, in tokens that the device would compute in the same time.

    per_query: for each token that attends to the prefix from a branch.
    per_level: for each depth to which branches are nested in a batch, in all layers together.
    """

    per_query: float = 0.0
    per_level: float = 0.0


# Whatever items have in common is computed once.
FREE = SharingCosts()


@dataclass(slots=True)
class Node:
    """What some items have in common, `depth` tokens from their start; a leaf is one item.

    item: one of the items that pass through this node; with `is_end`, the one that ends here.
    weight: the tokens below this node.
    """

    depth: int
    item: int
    is_end: bool = False
    weight: int = 0
    children: list["Node"] = field(default_factory=list)

    def heaviest(self) -> "Node":
        """The child with most tokens, which goes on where this node ends."""
        return max(self.children, key=lambda child: child.weight + child.depth)

    def ends(self) -> Iterator["Node"]:
        """A leaf for each item that ends here or below, in order."""
        left = [self]
        while left:
            node = left.pop()
            if node.is_end:
                yield Node(node.depth, node.item, is_end=True)
            left += reversed(node.children)


def grow(lengths: Sequence[int], common: Sequence[int], start: int, costs: SharingCosts = FREE) -> Node:
    """The compressed trie of items, in ascending order without repetition.

    Args:
        lengths: of each item, over `start`.
        common: the tokens that each item has in common with the one before it, `start` or more; not of the first.
        start: the depth of the root.
        costs: of its `per_query`: a node is left out if its items are computed apart in less time.
    """
    path = [Node(start, 0)]
    for item, length in enumerate(lengths):
        if item:
            _close(path, common[item], costs.per_query)
        path.append(Node(length, item, is_end=True))
    _close(path, start, costs.per_query)
    return path[0]


def prune(roots: Sequence[Node], costs: SharingCosts) -> None:
    """Keep as many levels of branches of all tries together, from the outermost on, as each save what they cost."""
    saved: list[float] = []
    for level, node, parent in _inner(roots):
        saved += [0.0] * (level + 1 - len(saved))
        saved[level] += _saved(node, parent) - costs.per_query * _side_tokens(node)
    levels = next((level for level, tokens in enumerate(saved) if tokens < costs.per_level), len(saved))
    if levels < len(saved):
        for level, node, parent in list(_inner(roots)):
            if level == levels:
                _flatten(node, parent)


def _close(path: list[Node], depth: int, per_query: float) -> None:
    """Remove the nodes deeper than `depth` from the path, so that it ends at a node of that depth."""
    while path[-1].depth > depth:
        node = path.pop()
        if path[-1].depth < depth:
            path.append(Node(depth, node.item))
        _adopt(path[-1], node, per_query)


def _adopt(parent: Node, node: Node, per_query: float) -> None:
    parent.weight += node.weight + node.depth - parent.depth
    if per_query and node.children and _saved(node, parent) < per_query * _side_tokens(node):
        parent.weight += _dissolve(node, parent)
    else:
        parent.children.append(node)


def _dissolve(node: Node, parent: Node) -> int:
    """Let the children of a node begin at its parent, and return the tokens that are computed more often then."""
    added = _saved(node, parent)
    if node.is_end:
        parent.children.append(Node(node.depth, node.item, is_end=True))
    parent.children += node.children
    return added


def _saved(node: Node, parent: Node) -> int:
    """The tokens that are not computed, as what is between a node and its parent is computed once."""
    return (node.depth - parent.depth) * (len(node.children) + node.is_end - 1)


def _side_tokens(node: Node) -> int:
    """The tokens that attend to a node from branches: all below it but those of the child that goes on."""
    heaviest = node.heaviest()
    return node.weight - (heaviest.weight + heaviest.depth - node.depth)


def _inner(roots: Iterable[Node]) -> Iterator[tuple[int, Node, Node]]:
    """The nodes below the roots that have children, with how many branches lie above theirs, and their parents."""
    left = [(0, child, root) for root in roots for child in root.children]
    while left:
        level, node, parent = left.pop()
        if node.children:
            yield level, node, parent
            heaviest = node.heaviest()
            left += [(level + (child is not heaviest), child, node) for child in node.children]


def _flatten(node: Node, parent: Node) -> None:
    """Let every item at or below a node begin at its parent."""
    place = next((place for place, child in enumerate(parent.children) if child is node), None)
    if place is not None:
        parent.children[place : place + 1] = list(node.ends())
