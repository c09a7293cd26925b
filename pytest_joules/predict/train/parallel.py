"""Where training runs: on the processors of this machine, or on a Dask cluster."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from pytest_joules.predict.train.fitting import TrainingError

#: Seconds that a scheduler has to answer.
PATIENCE = 10


@contextlib.contextmanager
def running(backend: str, jobs: int) -> Iterator[None]:
    """joblib's tasks inside run so: ``loky``, ``threading``, ``dask`` (the scheduler that dask's own settings name, or else a
    cluster of ``jobs`` workers on this machine) or ``dask=ADDRESS``; on ``jobs`` cores, -1: all.

    Raises:
        TrainingError: there is no such backend, or no such scheduler.
    """
    import joblib

    name, _, address = backend.partition("=")
    if name not in ("loky", "threading", "dask") or (address and name != "dask"):
        raise TrainingError(f"there is no backend {backend!r}: name loky, threading, dask or dask=SCHEDULER")
    cores = -1 if name == "dask" else jobs  # a cluster that is there already is used whole
    cluster = _cluster(address, jobs) if name == "dask" else contextlib.nullcontext()
    with cluster, joblib.parallel_config(backend=name, n_jobs=cores):
        yield


@contextlib.contextmanager
def _cluster(address: str, jobs: int) -> Iterator[None]:
    try:
        import dask
        from distributed import Client, LocalCluster
    except ImportError:
        raise TrainingError("--backend dask needs dask: pip install 'pytest-joules[dask]'") from None
    address = address or dask.config.get("scheduler-address", None)
    with contextlib.ExitStack() as stack:
        if not address:
            workers = None if jobs < 1 else jobs
            here = LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None, silence_logs=40)  # type: ignore[no-untyped-call]  # dask's own
            stack.enter_context(here)
        try:
            stack.enter_context(Client(address or here, timeout=PATIENCE))  # type: ignore[no-untyped-call]  # dask's own
        except (OSError, ValueError, TypeError) as error:
            raise TrainingError(f"no dask scheduler answers at {address} ({error}): name one that runs") from None
        yield
