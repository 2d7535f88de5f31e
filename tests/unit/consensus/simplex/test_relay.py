from __future__ import annotations

from p2pnode.consensus.engine import (
    Broadcast,
    EngineParameters,
    Fired,
    Msg,
    Send,
    TrafficClass,
)
from p2pnode.consensus.simplex import votes
from tests.unit.consensus.simplex.bench import (
    DELTA,
    P1,
    Bench,
    of,
    timers,
)


def test_certificate_goes_to_the_next_proposer_at_once_and_to_the_rest_after_a_quarter_delta() -> (
    None
):
    bench = Bench()
    certificate = bench.certificate(votes.notarize(P1))
    effects = bench.do(Msg(1, certificate))
    assert Send((2,), certificate, TrafficClass.CERT) in effects
    assert timers(effects)[("relay", 1)] == DELTA // 4
    # 1 has shown it, 2 got it: only 3 is left.
    assert of(bench.do(Fired(("relay", 1)), after_ns=DELTA // 4), Send) == [
        Send((3,), certificate, TrafficClass.CERT)
    ]


def test_who_sent_finalize_is_not_sent_the_notarization() -> None:
    bench = Bench()
    bench.show(votes.notarize(P1))
    bench.vote(3, votes.finalize(P1))
    assert not of(bench.do(Fired(("relay", 1)), after_ns=DELTA // 4), Send)


def test_relay_after_zero_broadcasts_every_certificate_at_once() -> None:
    bench = Bench(parameters=EngineParameters(delta_ns=DELTA, relay_after_ns=0))
    certificate = bench.certificate(votes.nullify(1))
    assert Broadcast(certificate, TrafficClass.CERT) in bench.do(Msg(1, certificate))
