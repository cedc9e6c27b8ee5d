"""A MobileNet as a transformer of scikit-learn: pictures in, one row of features each out."""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mininet.arguments import is_masked
from mininet.batches import as_input, feature_rows, run_in_batches, stacked
from mininet.errors import ArgumentError, DTypeError, ShapeError, brief, require
from mininet.network import Float32
from mininet.preprocess import Preset
from mininet.recipe import Recipe
from mininet.runtime import using_threads

BATCH_SIZE = 32


class MobileNetFeatures:
    """Features of pictures, for scikit-learn's pipelines, searches and process pools.

    It has scikit-learn's transformer protocol without importing scikit-learn. What is kept, cloned and
    pickled are the parameters alone: each process builds the network when it first needs it.

    Parameters
    ----------
    model : str, optional
        One of `list_models`; not needed where the weights say it.
    weights : path or str, optional
        A file that `read_weights` reads, ``"digits"`` or ``"random:<seed>"``; None for ``"random:0"``.
        Every process that works must be able to read it.
    at : str
        Node or container whose value is wanted, see `Network.names`.
    pool : {"avg", "max", None}
        How a feature map (C, H, W) becomes a vector: C averages, C maxima, or all its values in a row.
    preprocessing : str or Preset, optional
        By default what the weights or the lineage say.
    image_shape : (H, W) or (H, W, C), optional
        What a row of a table is reshaped to, in pixels; one of them may be -1, as in ``numpy.reshape``.
    batch_size : int
        Pictures that run together.
    threads : int, optional
        Threads of the kernels while features are computed; None for what `set_num_threads` says. In a pool
        of processes 1 is right, as each has a processor of its own.
    options : mapping, optional
        Further keyword arguments of `create_model`, for example ``{"width": 0.5}``.

    Attributes
    ----------
    n_features_out_ : int
        Length of a row of features, after `fit`.
    n_features_in_ : int
        Columns of the table that it was fitted to, if it was one.

    Notes
    -----
    Pictures ``X`` are one of

    - a list (or one-dimensional array, or pandas Series) of paths, PIL images or uint8 arrays,
    - a uint8 array (n, H, W) or (n, H, W, 3),
    - an array (n, C, H, W) of any other real type: prepared values, used as they are in float32,
    - a table (n, H * W * C), each row a picture of `image_shape`: pixels if it is uint8, else prepared.

    Pixels go through the network's preset: resized, cropped, normalised.
    """

    def __init__(
        self,
        model: str | None = None,
        weights: str | os.PathLike[str] | None = None,
        *,
        at: str = "features",
        pool: str | None = "avg",
        preprocessing: str | Preset | None = None,
        image_shape: Sequence[int] | None = None,
        batch_size: int = BATCH_SIZE,
        threads: int | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        # Stored as they are and checked when used: `clone` compares by identity.
        self.model = model
        self.weights = weights
        self.at = at
        self.pool = pool
        self.preprocessing = preprocessing
        self.image_shape = image_shape
        self.batch_size = batch_size
        self.threads = threads
        self.options = options

    def fit(self, X: Any, y: Any = None) -> MobileNetFeatures:
        """Check the parameters against the first picture; nothing is learned.

        Parameters
        ----------
        X : pictures
            See the notes of the class.
        y : ignored

        Raises
        ------
        MininetError
            If the network cannot be built, there is no picture, or the first one does not suit it.
        """
        items = self._items(X, fitting=True)
        net = self._recipe().network()
        first = as_input(net, items[0])
        self.n_features_out_ = feature_rows(net, first[:0], self.at, self.pool).shape[1]
        return self

    def transform(self, X: Any) -> Any:
        """Compute features.

        Parameters
        ----------
        X : pictures
            See the notes of the class.

        Returns
        -------
        float32 (n, features)
            An array, or what `set_output` has asked for.

        Raises
        ------
        ImageError
            If a picture cannot be read.
        ShapeError, DTypeError, ArgumentError
            If ``X`` is nothing of the kind, or pictures of several sizes give rows of several lengths.
        """
        items = self._items(X)
        with using_threads(self.threads):
            rows = stacked(run_in_batches(self._recipe().network(), items, self._task, self.batch_size))
        lengths = sorted({len(row) for row in rows})
        if len(lengths) > 1:
            raise ShapeError(f"expected rows of one length, got {lengths}; pool them or give sizes alike")
        return self._dressed(np.stack(rows), X)

    def fit_transform(self, X: Any, y: Any = None) -> Any:
        """`fit`, then `transform`."""
        return self.fit(X, y).transform(X)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Names of the columns: the class's name in small letters and a number.

        Raises
        ------
        ArgumentError
            Before `fit`.
        """
        if not hasattr(self, "n_features_out_"):
            raise ArgumentError("the number of features is known after fit; call it first")
        return np.array(self._names(self.n_features_out_), dtype=object)

    def set_output(self, *, transform: str | None = None) -> MobileNetFeatures:
        """Choose what `transform` returns: ``"default"`` (an array) or ``"pandas"`` (a frame)."""
        if transform is not None:
            if transform not in ("default", "pandas"):
                raise ArgumentError(f"expected 'default' or 'pandas', got {transform!r}")
            self._sklearn_output_config = {"transform": transform}  # a name that sklearn.clone copies
        return self

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """All parameters of the constructor by name."""
        return {name: getattr(self, name) for name in self._parameters()}

    def set_params(self, **params: Any) -> MobileNetFeatures:
        """Change parameters.

        Raises
        ------
        ArgumentError
            If there is no such parameter.
        """
        known = list(self._parameters())
        for name, value in params.items():
            if name not in known:
                raise ArgumentError(f"unknown parameter {name!r}; known: {', '.join(known)}")
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        defaults = self._parameters()
        told = {
            name: value for name, value in self.get_params().items() if value is not defaults[name].default
        }
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in told.items())})"

    def __sklearn_tags__(self) -> Any:
        utils: Any = importlib.import_module("sklearn.utils")  # only scikit-learn asks, so it is there
        return utils.Tags(
            estimator_type="transformer",
            target_tags=utils.TargetTags(required=False),
            transformer_tags=utils.TransformerTags(preserves_dtype=["float32"]),
            input_tags=utils.InputTags(two_d_array=self.image_shape is not None, three_d_array=True),
            requires_fit=False,
        )

    @classmethod
    def _parameters(cls) -> dict[str, inspect.Parameter]:
        signature = dict(inspect.signature(cls).parameters)
        return {name: signature[name] for name in sorted(signature)}

    def _recipe(self) -> Recipe:
        return Recipe.of(self.model, self.weights, self.preprocessing, self.options)

    def _task(self, net: Any, x: Float32) -> Float32:
        return feature_rows(net, x, self.at, self.pool)

    def _items(self, X: Any, fitting: bool = False) -> Sequence[Any]:
        """``X`` as one item per picture, each as `as_input` takes it; at least one."""
        if isinstance(X, (str, os.PathLike)):
            raise DTypeError(f"expected a list of pictures, got one path; pass [{os.fspath(X)!r}]")
        if is_masked(X):
            raise DTypeError("expected an array without a mask; say what stands there with X.filled(0)")
        if hasattr(X, "toarray"):
            raise DTypeError("expected a dense array, got a sparse matrix")
        if isinstance(X, (list, tuple)) and (not X or _is_picture(X[0])):
            return _some(X)
        try:
            array = np.asarray(X)
        except Exception as error:  # whatever a foreign array type raises
            raise DTypeError(
                f"X: expected pictures or numbers, got {brief(X)} ({type(error).__name__})"
            ) from None
        if array.ndim == 1 and array.dtype.kind in "OU":
            if fitting and hasattr(self, "n_features_in_"):
                del self.n_features_in_
            return _some(list(array))
        array = _real(array)
        if array.ndim == 2:
            return self._rows(array, fitting)
        if array.ndim not in ((3, 4) if array.dtype == np.uint8 else (4,)):
            raise ShapeError(
                "expected pixels (n, H, W[, 3]) of uint8, prepared values (n, C, H, W), a table or a list of "
                f"pictures, got {array.dtype} of shape {array.shape}. Reshape your data"
            )
        return _some(array)

    def _rows(self, table: NDArray[Any], fitting: bool) -> Sequence[Any]:
        """The rows of a table as pictures."""
        name, columns = type(self).__name__, table.shape[1]
        if fitting:
            self.n_features_in_ = columns
        elif columns != getattr(self, "n_features_in_", columns):
            raise ShapeError(
                f"X has {columns} features, but {name} is expecting {self.n_features_in_} features as input"
            )
        if not table.size:
            raise ShapeError(
                f"Found array with {len(table)} sample(s) and {columns} feature(s) (shape={table.shape}) "
                "while a minimum of 1 is required."
            )
        if self.image_shape is None:
            raise ShapeError(f"{name}: rows of a table (got {table.shape}) are pictures given image_shape")
        try:
            pictures = table.reshape(len(table), *self.image_shape)
        except (TypeError, ValueError):
            raise ShapeError(
                f"image_shape: expected (H, W[, C]) of {columns} values, got {brief(self.image_shape)}"
            ) from None
        if pictures.ndim == 3:
            pictures = pictures[..., np.newaxis]
        if pictures.ndim != 4:
            raise ShapeError(f"image_shape: expected (H, W) or (H, W, C), got {brief(self.image_shape)}")
        return _some(pictures if pictures.dtype == np.uint8 else pictures.transpose(0, 3, 1, 2))

    def _dressed(self, features: Float32, X: Any) -> Any:
        """As an array or a frame, as `set_output` wants it."""
        kind = getattr(self, "_sklearn_output_config", {}).get("transform", "default")
        if kind == "default":
            return features
        names = self._names(features.shape[1])
        return require("pandas", "test").DataFrame(features, columns=names, index=getattr(X, "index", None))

    def _names(self, count: int) -> list[str]:
        return [f"{type(self).__name__.lower()}{i}" for i in range(count)]


def _is_picture(value: Any) -> bool:
    """Whether the first of a list is a picture, and not a row of numbers."""
    row = isinstance(value, (list, tuple, bool, int, float, complex, np.generic))
    return not row and getattr(value, "ndim", 2) >= 2


def _some(items: Sequence[Any] | NDArray[Any]) -> Sequence[Any]:
    """The items, of which there must be one; iterating over an array gives its pictures."""
    if not len(items):
        raise ShapeError("Found no picture: 0 sample(s) while a minimum of 1 is required.")
    return items  # type: ignore[return-value]


def _real(array: NDArray[Any]) -> NDArray[Any]:
    """Pixels as they are, anything else as finite float32."""
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind == "c":
        raise ArgumentError("expected real numbers. Complex data not supported")
    try:
        with np.errstate(over="ignore"):
            values = array.astype(np.float32)
    except (TypeError, ValueError, OverflowError) as error:
        raise DTypeError(f"X: expected pictures or numbers, got {brief(array)} ({error})") from None
    if not np.isfinite(values).all():
        raise ArgumentError("Input X contains NaN or infinity, or a value too large for float32")
    return values
