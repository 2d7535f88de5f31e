"""Consensus: the engine plug, what engines share, and the engines built in.

`engine.py` is the plug and its contract; its words stand in `epoch.py`, `parameters.py`,
`items.py`, `events.py` and `effects.py`. `registry.py` finds an engine by name, `certs.py` and
`tally.py` are what vote-counting engines share, `solo/` and `simplex/` are engines, `host.py` is
what runs any of them.

`ordering.py` is what the host asks and tells: final heights become blocks there. `builder.py`
answers Build, `judge.py` answers Check by the rules in `faults.py`; `bodies.py` holds payloads,
`intake.py` takes statements into the pool in `statements.py`, `evidence.py` proves offences.
Everything here is pure.
"""
