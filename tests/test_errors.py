"""Errors: each says one line, and says it also in the process that asked."""

from __future__ import annotations

import copy
import pickle

import pytest

import mininet
from mininet import errors
from mininet.data import DIGITS

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]


def _raised(kind: type[Exception]) -> Exception:
    if issubclass(kind, errors.UnknownNameError):
        return kind("model", "mobilenet_v9", ["mobilenet_v1", "mobilenet_v2"])
    return kind("expected this, got that")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("protocol", [2, pickle.HIGHEST_PROTOCOL])
def test_an_error_crosses_to_another_process(kind: type[Exception], protocol: int) -> None:
    """Process pools and Dask pickle what a worker raises; what does not unpickle breaks the pool."""
    error = _raised(kind)
    for twin in (pickle.loads(pickle.dumps(error, protocol)), copy.copy(error)):
        assert type(twin) is kind
        assert (str(twin), twin.args) == (str(error), error.args)


def test_an_unknown_tensor_crosses_too() -> None:
    with pytest.raises(KeyError) as caught:
        mininet.read_weights(DIGITS)["classifier.3.bais"]
    twin = pickle.loads(pickle.dumps(caught.value))
    assert "classifier.3.bias" in str(twin) == str(caught.value)
