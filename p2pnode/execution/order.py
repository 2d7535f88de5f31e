"""Which ordered results count: a rule over the chain's order alone, the same on every node."""

from __future__ import annotations

from p2pnode import codec
from p2pnode.execution.block import COUNTERS
from p2pnode.execution.receipts import EMPTY_ROOT
from p2pnode.types.statement import Result


class ResultOrder:
    """Remembers each shard's newest ordered result and decides about the next.

    A result counts if its height is above the last one's, and every outbox of its shard before it
    was ordered. So results of heights in between may be left out where they sent nothing, and
    nothing that was sent is lost. A result that does not count is ignored; its statement may be
    ordered again.
    """

    def __init__(self) -> None:
        """Start before the first result of every shard."""
        self._last: dict[int, tuple[int, int, bytes]] = {}

    def admit(self, result: Result) -> bool:
        """Tell whether an ordered result counts, and if so remember it.

        Args:
            result: Of a verified certificate, in the chain's order.
        """
        height, outboxes, _ = self._last.get(result.uid, (0, 0, b""))
        before = result.counters[COUNTERS.index("outboxes_before")]
        if result.height <= height or before != outboxes:
            return False
        sent = result.outbox_root != EMPTY_ROOT
        self._last[result.uid] = (result.height, outboxes + sent, result.post_root)
        return True

    def last(self, uid: int) -> tuple[int, bytes] | None:
        """Return height and post root of a shard's newest ordered result."""
        if uid not in self._last:
            return None
        height, _, root = self._last[uid]
        return height, root

    def encode(self) -> bytes:
        """Return the canonical bytes, for the store."""
        return codec.encode([[uid, *last] for uid, last in sorted(self._last.items())])


def decode_result_order(data: bytes) -> ResultOrder:
    """Read what `ResultOrder.encode` gave.

    Raises:
        codec.NotCanonicalError, codec.WrongShapeError, codec.EncodingTooLargeError: It is not one.
    """
    order = ResultOrder()
    for item in codec.array(codec.decode(data, size_bytes_max=1 << 22), "result order"):
        uid, height, outboxes, root = codec.array(item, "ordered result", length=4)
        order._last[codec.unsigned(uid, "uid")] = (
            codec.unsigned(height, "height"),
            codec.unsigned(outboxes, "outboxes"),
            codec.octets(root, "post root", length=32),
        )
    return order
