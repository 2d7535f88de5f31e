"""Many seeds of one spec, over several processes."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait

from testnet.sim.report import SimReport
from testnet.sim.run import run_seeded
from testnet.sim.spec import SimSpec


def run_matrix(
    spec: SimSpec,
    seeds: Sequence[int],
    jobs: int,
    on_done: Callable[[SimReport], None] = lambda report: None,
) -> list[SimReport]:
    """Run a spec with every seed.

    Args:
        spec: What to run.
        seeds: Different ones.
        jobs: Processes; with 1 everything runs in this one.
        on_done: Told of every report as it comes.

    Returns:
        The reports in the order of `seeds`.
    """
    reports: dict[int, SimReport] = {}
    if jobs <= 1:
        for seed in seeds:
            reports[seed] = run_seeded(spec, seed)
            on_done(reports[seed])
        return [reports[seed] for seed in seeds]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(jobs, len(seeds)), mp_context=context) as pool:
        running: dict[Future[SimReport], int] = {
            pool.submit(run_seeded, spec, seed): seed for seed in seeds
        }
        try:
            while running:
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    seed = running.pop(future)
                    reports[seed] = future.result()
                    on_done(reports[seed])
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [reports[seed] for seed in seeds]
