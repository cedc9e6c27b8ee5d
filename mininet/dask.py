"""Pictures by the thousand over the workers of a Dask cluster; needs the extra ``dask``.

Everything here is lazy, as Dask is: what comes back is a bag or an array that computes on whatever scheduler
is current. A worker process builds the network once and maps its weights, so a task carries names only.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, TypeVar

import numpy as np

from mininet.arguments import check_integer
from mininet.batches import (
    Failure,
    Result,
    Task,
    as_input,
    feature_rows,
    labelled_classes,
    run_in_batches,
    stacked,
)
from mininet.errors import ClusterError, DTypeError, MininetError, require
from mininet.network import Float32
from mininet.preprocess import Preset
from mininet.recipe import Recipe
from mininet.runtime import set_num_threads

bags: Any = require("dask.bag", "dask")
arrays: Any = require("dask.array", "dask")
delayed: Any = require("dask", "dask").delayed

BATCH_SIZE = 8
PARTITION_SIZE = 32
"""Pictures per task: enough that Dask's millisecond per task is lost beside them, few enough to spread."""
SECONDS_TO_ANSWER = 10
SECONDS_TO_HAVE_WORKERS = 60

T = TypeVar("T")
Bag = Any
DaskArray = Any


def classify(
    images: Any,
    model: str | None = None,
    weights: str | os.PathLike[str] | None = None,
    *,
    top: int = 5,
    preprocessing: str | Preset | None = None,
    batch_size: int = BATCH_SIZE,
    partition_size: int = PARTITION_SIZE,
    threads: int | None = 1,
    **options: Any,
) -> Bag:
    """Name what is on pictures.

    Parameters
    ----------
    images : Dask bag, Dask array or sequence
        A bag or sequence of paths, PIL images, uint8 arrays (H, W[, 3]) or prepared float arrays (C, H, W);
        or an array (n, H, W[, 3]) of uint8 or (n, C, H, W) of floats. Paths must be the workers' own.
    model, weights, preprocessing, **options
        As for `create_model`; the weights by name, and the file must be there for every worker.
    top : int
        How many classes.
    batch_size : int
        Pictures that run together.
    partition_size : int
        Pictures per task, where ``images`` is a sequence; a bag or array has its partitions or chunks.
    threads : int, optional
        Threads of the kernels for each thread of Dask, set in the whole worker process; None leaves them
        as they are. One is right where the workers together have as many threads as the machine.

    Returns
    -------
    Dask bag of Result or Failure
        One per picture and in the same order. ``Result.value`` is a list of (label, probability), the most
        probable first; a picture that cannot be read is a ``Failure``.

    Raises
    ------
    DTypeError, ArgumentError
        At once for weights that are no name, and for numbers below 1; what is wrong with the network or a
        node comes out when it is computed.
    """
    check_integer("top", top, least=1)
    recipe = Recipe.of(model, weights, preprocessing, options)
    return run(
        images,
        recipe,
        partial(labelled_classes, top=top),
        batch_size=batch_size,
        partition_size=partition_size,
        threads=threads,
    )


def features(
    images: Any,
    model: str | None = None,
    weights: str | os.PathLike[str] | None = None,
    *,
    at: str = "features",
    pool: str | None = "avg",
    preprocessing: str | Preset | None = None,
    batch_size: int = BATCH_SIZE,
    partition_size: int = PARTITION_SIZE,
    threads: int | None = 1,
    **options: Any,
) -> Bag | DaskArray:
    """Compute features of pictures.

    Parameters
    ----------
    images, model, weights, preprocessing, batch_size, partition_size, threads, **options
        As for `classify`.
    at, pool
        As for `MobileNetFeatures`.

    Returns
    -------
    Dask bag of Result or Failure
        As `classify` returns it; ``Result.value`` is float32 (features,).
    Dask array (n, features) of float32
        Instead, where ``images`` is an array; it has the same chunks along n.
    """
    recipe = Recipe.of(model, weights, preprocessing, options)
    task = partial(feature_rows, at=at, pool=pool)
    if isinstance(images, arrays.Array):
        return _feature_array(_whole(images), recipe, task, batch_size, threads)
    return run(images, recipe, task, batch_size=batch_size, partition_size=partition_size, threads=threads)


def run(
    images: Any,
    recipe: Recipe,
    task: Task[T],
    *,
    batch_size: int = BATCH_SIZE,
    partition_size: int = PARTITION_SIZE,
    threads: int | None = 1,
) -> Bag:
    """Run any task of `mininet.batches` over pictures; see `classify`."""
    check_integer("batch_size", batch_size, least=1)
    check_integer("partition_size", partition_size, least=1)
    if threads is not None:
        check_integer("threads", threads, least=1)
    return _as_bag(images, partition_size).map_partitions(_run_partition, recipe, task, batch_size, threads)


def stream(outcomes: Bag, address: str) -> Iterator[Any]:
    """Compute a bag on the cluster of one scheduler, and hand its items over in order as they come.

    Parameters
    ----------
    outcomes : Dask bag
    address : str
        Of the scheduler, for example ``"tcp://127.0.0.1:8786"``.

    Raises
    ------
    ClusterError
        If no scheduler answers, it has no workers, or they cannot do the work.
    MininetError
        Whatever a task raised.
    """
    distributed = require("distributed", "dask")
    try:
        client = distributed.Client(address, timeout=SECONDS_TO_ANSWER, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise ClusterError(f"no Dask scheduler answers at {address!r} ({_reason(error)})") from error
    with client:
        try:
            client.wait_for_workers(1, timeout=SECONDS_TO_HAVE_WORKERS)
            futures = deque(client.compute(outcomes.to_delayed()))
            while futures:  # one by one, so that the cluster may forget what has been handed over
                yield from futures.popleft().result()
        except MininetError:
            raise
        except Exception as error:  # whatever a worker that lacks mininet, memory or luck makes Dask raise
            raise ClusterError(f"the Dask cluster at {address!r} gave up: {_reason(error)}") from error


def _run_partition(
    items: Iterable[Any], recipe: Recipe, task: Task[T], batch_size: int, threads: int | None
) -> list[Result[T] | Failure]:
    """What a worker does: all pictures of one partition."""
    if threads is not None:
        set_num_threads(threads)
    return list(run_in_batches(recipe.network(), items, task, batch_size))


def _as_bag(images: Any, partition_size: int) -> Bag:
    if isinstance(images, bags.Bag):
        return images
    if isinstance(images, arrays.Array):
        blocks = _whole(images).to_delayed().ravel()
        return bags.from_delayed([delayed(list)(block) for block in blocks])
    if isinstance(images, (str, os.PathLike)):
        raise DTypeError(f"expected a list of pictures, got one path; pass [{os.fspath(images)!r}]")
    return bags.from_sequence(list(images), partition_size=partition_size)


def _whole(images: DaskArray) -> DaskArray:
    """The same array with no picture cut by a chunk."""
    return images.rechunk(dict.fromkeys(range(1, images.ndim), -1))


def _feature_array(
    images: DaskArray, recipe: Recipe, task: Task[Float32], batch_size: int, threads: int | None
) -> DaskArray:
    net = recipe.network()  # Dask wants to know the width beforehand
    blank = as_input(net, np.zeros(images.shape[1:], images.dtype))
    width = np.asarray(task(net, blank[:0])).shape[1]

    def block(pictures: Any) -> Float32:
        rows = stacked(_run_partition(pictures, recipe, task, batch_size, threads))
        return np.stack(rows) if rows else np.empty((0, width), np.float32)

    return images.map_blocks(
        block,
        dtype=np.float32,
        chunks=(images.chunks[0], (width,)),
        drop_axis=list(range(1, images.ndim)),
        new_axis=1,
        meta=np.empty((0, 0), np.float32),
    )


def _reason(error: BaseException) -> str:
    """Say what went wrong in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
