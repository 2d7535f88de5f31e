"""How long to wait: the adaptive Δ, and who has been silent."""

from __future__ import annotations

from p2pnode import codec
from p2pnode.consensus.engine import EngineParameters, Epoch, Index


class Pace:
    """Δ and the times at which validators were last heard."""

    __slots__ = ("_epoch", "_floor_ns", "_heard_ns", "_parameters", "delta_ns")

    def __init__(self, parameters: EngineParameters, epoch: Epoch, now_ns: int) -> None:
        """Start at the configured Δ.

        Args:
            parameters: Δ, its cap, and the time after which a proposer counts as silent.
            epoch: Who may be heard.
            now_ns: Silence counts from here.
        """
        self._parameters = parameters
        self._epoch = epoch
        self._floor_ns = parameters.delta_ns
        self._heard_ns = [now_ns] * len(epoch.validators)
        self.delta_ns = parameters.delta_ns

    def tune(self, delta_ns: int) -> None:
        """Move the floor of Δ to max(configured, measured), below the cap."""
        self._floor_ns = min(
            max(self._parameters.delta_ns, delta_ns), self._parameters.delta_max_ns
        )
        self.delta_ns = max(self.delta_ns, self._floor_ns)

    def late(self) -> None:
        """Something valid for a view came after we had nullified it on time: Δ was too short."""
        self.delta_ns = min(self.delta_ns * 3 // 2, self._parameters.delta_max_ns)

    def finalized(self) -> None:
        """Something became final: Δ may be longer than it need be."""
        self.delta_ns = max(self.delta_ns * 98 // 100, self._floor_ns)

    def child_due_ns(self, seen_ns: int, now_ns: int) -> int:
        """Return when a child may be proposed: an interval after its parent.

        Args:
            seen_ns: When the parent's proposal was first seen; 0 when that was in another life.
            now_ns: Now; never sooner.
        """
        if not seen_ns:
            return now_ns
        return max(now_ns, seen_ns + self._parameters.block_interval_ns)

    def hear(self, index: Index | None, now_ns: int) -> None:
        """Note that something current came from a validator."""
        if index is not None:
            self._heard_ns[index] = now_ns

    def silent(self, index: Index, now_ns: int) -> bool:
        """Tell whether nothing came from `index` for skip_ns while a quorum's messages did.

        Without the second half an idle or cut-off node would skip everybody.
        """
        since_ns = now_ns - self._parameters.skip_ns
        if index == self._epoch.me or self._heard_ns[index] > since_ns:
            return False
        heard = sum(
            power
            for i, (_, power) in enumerate(self._epoch.validators)
            if i == self._epoch.me or self._heard_ns[i] > since_ns
        )
        return heard >= self._epoch.quorum()

    def quiet(self, index: Index, now_ns: int) -> bool:
        """Tell whether `index` is on the way to being silent: its next sign of life is worth a
        signature check.
        """
        return self._heard_ns[index] <= now_ns - self._parameters.skip_ns // 2

    def snapshot(self) -> codec.Value:
        """Return the whole state, for fingerprints."""
        return (self.delta_ns, self._floor_ns, tuple(self._heard_ns))
