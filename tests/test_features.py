"""`MobileNetFeatures`: scikit-learn's own checks, every form of pictures, pools of processes, an example."""

from __future__ import annotations

import importlib.util
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mininet
from mininet import MobileNetFeatures

pytest.importorskip("sklearn", reason="scikit-learn is not installed")
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks, estimator_html_repr

EXAMPLES = Path(__file__).parent.parent / "docs" / "examples"
SAMPLES = mininet.sample_images()
TINY = {"width": 0.1, "in_channels": 1, "num_classes": 2}
# Tables of any width, as scikit-learn's checks make them: every row is a picture of one line.
LINES = MobileNetFeatures("mobilenet_v3_small", image_shape=(1, -1), options=TINY)


def _checks() -> dict[str, Callable[[Any], None]]:
    """All that scikit-learn has for it (45 in release 1.9), by name; none is expected to fail.

    That of the array API runs only where an environment variable asked for it before SciPy was imported.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it is no BaseEstimator, and should be none
        checks = [check for _, check in estimator_checks.estimator_checks_generator(LINES)]
    names = [f"{number} {check.func.__name__}" for number, check in enumerate(checks)]
    return {name: check for name, check in zip(names, checks, strict=True) if "array_api" not in name}


CHECKS = _checks()


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", CHECKS)
def test_scikit_learn_is_content(name: str) -> None:
    CHECKS[name](clone(LINES))


@pytest.mark.parametrize("check", ["check_set_output_transform", "check_set_output_transform_pandas"])
def test_scikit_learn_is_content_with_frames(check: str) -> None:
    pytest.importorskip("pandas", reason="pandas is not installed")
    getattr(estimator_checks, check)("MobileNetFeatures", LINES)


def test_scikit_learn_is_not_imported() -> None:
    code = (
        "import sys, mininet; t = mininet.MobileNetFeatures(weights='digits'); "
        "t.fit_transform(mininet.sample_images()); repr(t); t.get_params(); print('sklearn' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert ran.stdout == "False\n"


def _pixels() -> np.ndarray[Any, Any]:
    return np.stack([mininet.images.read_image(path, "L")[:, :, 0] for path in SAMPLES])


def _forms() -> dict[str, tuple[dict[str, Any], Any]]:
    """The six sample digits in every form that `X` may have, with the parameters that each needs."""
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    net = mininet.create_model(weights="digits")
    pixels = _pixels()
    prepared = np.concatenate([net.preprocess(path) for path in SAMPLES])
    shape = {"image_shape": (32, -1)}
    return {
        "paths": ({}, SAMPLES),
        "names": ({}, tuple(map(str, SAMPLES))),
        "array of names": ({}, np.array(list(map(str, SAMPLES)))),
        "PIL images": ({}, [image.fromarray(each) for each in pixels]),
        "list of arrays": ({}, list(pixels)),
        "pixels": ({}, pixels),
        "pixels with channel": ({}, pixels[..., np.newaxis]),
        "table of pixels": (shape, pixels.reshape(6, -1)),
        "prepared": ({}, prepared),
        "prepared as float64": ({}, prepared.astype(np.float64)),
        "list of prepared": ({}, list(prepared)),
        "table of prepared": (shape, prepared.reshape(6, -1)),
        "list of lists": (shape, prepared.reshape(6, -1).tolist()),
    }


@pytest.mark.parametrize("form", _forms())
@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_every_form_gives_the_network_s_features(form: str, batch_size: int) -> None:
    parameters, pictures = _forms()[form]
    net = mininet.create_model(weights="digits")
    expected = net.features(np.concatenate([net.preprocess(path) for path in SAMPLES]), pool=True)
    features = MobileNetFeatures(weights="digits", batch_size=batch_size, **parameters)
    got = features.transform(pictures)  # it is trained already: fit is not needed
    assert (got.dtype, got.shape) == (np.float32, (6, 240))
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    assert features.fit(pictures).n_features_out_ == 240


def test_colour_tables_are_read_channels_last() -> None:
    rng = np.random.default_rng(0)
    values = rng.standard_normal((2, 16, 24, 3)).astype(np.float32)
    options = {"width": 0.1, "num_classes": 2}
    features = MobileNetFeatures("mobilenet_v2", image_shape=(16, 24, 3), options=options)
    net = mininet.create_model("mobilenet_v2", **options)
    expected = net.features(values.transpose(0, 3, 1, 2), pool=True)
    np.testing.assert_allclose(features.transform(values.reshape(2, -1)), expected, rtol=1e-5, atol=1e-6)


def test_pools_and_nodes() -> None:
    net = mininet.create_model(weights="digits")
    maps = net.features(np.concatenate([net.preprocess(path) for path in SAMPLES]), at="features.3")
    expected = {"avg": maps.mean((2, 3)), "max": maps.max((2, 3)), None: maps.reshape(6, -1)}
    for pool, rows in expected.items():
        features = MobileNetFeatures(weights="digits", at="features.3", pool=pool)
        np.testing.assert_allclose(features.fit_transform(SAMPLES), rows, rtol=1e-5, atol=1e-6)
        names = features.get_feature_names_out()
        assert (len(names), names[-1]) == (rows.shape[1], f"mobilenetfeatures{rows.shape[1] - 1}")
    logits = MobileNetFeatures(weights="digits", at="classifier.3").transform(SAMPLES)
    assert logits.argmax(1).tolist() == [0, 2, 3, 5, 7, 9]


def test_only_parameters_are_pickled_and_cloned() -> None:
    features = MobileNetFeatures(weights="digits", at="features.4").fit(SAMPLES)
    before = features.transform(SAMPLES)
    data = pickle.dumps(features)
    assert len(data) < 1000, f"{len(data)} bytes: is the network among them?"
    np.testing.assert_array_equal(pickle.loads(data).transform(SAMPLES), before)
    twin = clone(features)
    assert twin.get_params() == features.get_params()
    assert not hasattr(twin, "n_features_out_")
    assert repr(twin) == "MobileNetFeatures(at='features.4', weights='digits')"
    assert twin.set_params(at="features.3", pool="max") is twin
    with pytest.raises(ValueError, match=r"unknown parameter 'att'.*at, batch_size"):
        twin.set_params(att="features")


@pytest.fixture(scope="module")
def digits() -> tuple[Any, Any]:
    """Two hundred digits of 8x8 as pixels in a table, and their labels."""
    from sklearn.datasets import load_digits

    table, labels = load_digits(return_X_y=True)
    return (table[:200] * (255 / 16)).round().astype(np.uint8), labels[:200]


def test_pipeline_cross_validation_and_search(digits: tuple[Any, Any]) -> None:
    """Small pictures are enlarged by the network's preset; in a pool the answers are the same."""
    pytest.importorskip("PIL", reason="Pillow, which enlarges, is not installed")
    pipeline = make_pipeline(
        MobileNetFeatures(weights="digits", image_shape=(8, 8), threads=1), LogisticRegression(max_iter=500)
    )
    alone = cross_val_score(pipeline, *digits, cv=2)
    pooled = cross_val_score(pipeline, *digits, cv=2, n_jobs=2, error_score="raise")
    np.testing.assert_array_equal(alone, pooled)
    assert alone.min() > 0.95, alone
    search = GridSearchCV(pipeline, {"mobilenetfeatures__at": ["features.2", "features"]}, cv=2).fit(*digits)
    assert search.best_params_ == {"mobilenetfeatures__at": "features"}
    assert "MobileNetFeatures" in estimator_html_repr(pipeline)


def test_lists_of_files_are_cross_validated() -> None:
    pipeline = make_pipeline(MobileNetFeatures(weights="digits"), LogisticRegression())
    files, labels = list(map(str, SAMPLES * 4)), [0, 1, 0, 1, 1, 0] * 4
    assert cross_val_score(pipeline, files, labels, cv=3).tolist() == [1, 1, 1]


def test_an_error_comes_out_of_a_pool(digits: tuple[Any, Any]) -> None:
    pipeline = make_pipeline(MobileNetFeatures(weights="digits", at="featurs"), LogisticRegression())
    pipeline.set_params(mobilenetfeatures__image_shape=(8, 8))
    with pytest.raises(mininet.UnknownNameError, match="unknown node 'featurs'"):
        cross_val_score(pipeline, *digits, cv=2, n_jobs=2, error_score="raise")


def test_frames_have_names_and_the_rows_index() -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    files = pandas.Series(list(map(str, SAMPLES)), index=list("abcdef"))
    pipeline = make_pipeline(MobileNetFeatures(weights="digits")).set_output(transform="pandas")
    frame = clone(pipeline).fit_transform(files)
    assert frame.index.tolist() == list("abcdef")
    assert frame.columns[:2].tolist() == ["mobilenetfeatures0", "mobilenetfeatures1"]
    np.testing.assert_array_equal(frame, MobileNetFeatures(weights="digits").transform(SAMPLES))


def test_threads_are_set_while_it_runs() -> None:
    seen = []

    class Watched(MobileNetFeatures):
        def _task(self, net: Any, x: Any) -> Any:
            seen.append(mininet.get_num_threads())
            return super()._task(net, x)

    before = mininet.get_num_threads()
    Watched(weights="digits", threads=before + 3).transform(SAMPLES)
    assert set(seen) == {before + 3}
    assert mininet.get_num_threads() == before
    seen.clear()
    Watched(weights="digits").transform(SAMPLES)
    assert set(seen) == {before}


REFUSED: dict[str, tuple[dict[str, Any], Any, type[Exception], str]] = {
    "one path": ({}, str(SAMPLES[0]), TypeError, "list of pictures"),
    "nothing": ({}, [], ValueError, "minimum of 1"),
    "broken picture": ({}, [SAMPLES[0], Path("nowhere.png")], mininet.ImageError, "nowhere.png"),
    "table without a shape": ({}, np.zeros((2, 1024)), mininet.ShapeError, "image_shape"),
    "another size": ({"image_shape": (30, 30)}, np.zeros((2, 1024)), mininet.ShapeError, "1024 values"),
    "no shape": ({"image_shape": "32x32"}, np.zeros((2, 1024)), mininet.ShapeError, "32x32"),
    "four axes": ({"image_shape": (2, 2, 2, 128)}, np.zeros((2, 1024)), mininet.ShapeError, "(2, 2, 2, 128)"),
    "channels": ({}, np.zeros((2, 3, 8, 8)), mininet.ShapeError, r"\(N, 1, H, W\)"),
    "not finite": ({}, np.full((1, 1, 8, 8), np.nan), ValueError, "NaN"),
    "too large": ({}, np.full((1, 1, 8, 8), 1e300), ValueError, "too large"),
    "node": ({"at": "fetures"}, SAMPLES, mininet.UnknownNameError, "did you mean"),
    "pool": ({"pool": True}, SAMPLES, mininet.DTypeError, "pool: expected a string"),
    "arrays as weights": ({"weights": {"a": 1}}, SAMPLES, mininet.DTypeError, "Network.save"),
    "option": ({"options": {"width": {}}}, SAMPLES, mininet.ArgumentError, "options"),
    "sizes": ({"pool": None}, [np.zeros((1, 8, 8)), np.zeros((1, 64, 64))], mininet.ShapeError, "length"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case: str) -> None:
    parameters, pictures, kind, words = REFUSED[case]
    with pytest.raises(kind, match=words) as caught:
        MobileNetFeatures(**{"weights": "digits", **parameters}).transform(pictures)
    assert isinstance(caught.value, mininet.MininetError)
    assert "\n" not in str(caught.value)


def test_names_and_frames_ask_for_what_they_need() -> None:
    with pytest.raises(mininet.ArgumentError, match="fit"):
        LINES.get_feature_names_out()
    with pytest.raises(mininet.ArgumentError, match="'arrow'"):
        clone(LINES).set_output(transform="arrow")


def test_the_example_reaches_its_accuracy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The features page states 0.99 on held-out digits, and less on the bare pixels."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.delitem(sys.modules, "train_digits", raising=False)
    spec = importlib.util.spec_from_file_location("digits_features", EXAMPLES / "digits_features.py")
    assert spec is not None and spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    accuracy = example.main()
    assert accuracy["features"] >= 0.99, capsys.readouterr().out
    assert accuracy["pixels"] < 0.95, "were the pixels enough, the example would show nothing"
