"""Making a network: from a name, from weights, or from both."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mininet.arguments import check_mapping
from mininet.data import DIGITS
from mininet.errors import ArgumentError, WeightsError, brief
from mininet.labels import check_labels
from mininet.metadata import FORMAT_VERSION
from mininet.models.config import ModelConfig
from mininet.models.registry import build_graph, config_for, preset_for
from mininet.network import Network
from mininet.preprocess import Preset, get_preset
from mininet.weights import Weights, read_weights
from mininet.weights.load import infer_config as infer_config_from
from mininet.weights.load import match
from mininet.weights.random import random_params

WeightsSource = str | os.PathLike[str] | Mapping[str, Any] | None

RANDOM = "random:"


def create_model(
    name: str | None = None,
    weights: WeightsSource = None,
    *,
    preprocessing: str | Preset | None = None,
    labels: str | Sequence[str] | None = None,
    **options: Any,
) -> Network:
    """Build a network.

    Parameters
    ----------
    name : str, optional
        One of `list_models`. Not needed where the weights say what they are for.
    weights : path, mapping, str or None
        A file that `read_weights` reads (a ``.tflite`` one says itself what it is for); a mapping of names
        to arrays (a torchvision, timm or Keras state); ``"digits"`` for the handwritten digits that ship with
        the package; ``"random:<seed>"``; None for ``"random:0"``.
    preprocessing : str or Preset, optional
        By default what the weights or the lineage say.
    labels : str or sequence of str, optional
        Name of a set of class names, or one name per class (without the background, where the weights
        have one).
    **options
        Fields of `ModelConfig`: ``width``, ``num_classes``, ``in_channels``, ``lineage``,
        ``separable``, ``shallow``, ``minimalistic`` and so on.

    Raises
    ------
    UnknownNameError
        If there is no such model, lineage, preset or label set; the message names close matches.
    ArgumentError
        If an option makes no sense, or neither name nor weights say which network is meant.
    WeightsError
        If the weights cannot be read or do not fit.
    """
    if weights is None or (isinstance(weights, str) and weights.startswith(RANDOM)):
        return _untrained(name, weights or f"{RANDOM}0", preprocessing, labels, options)
    tensors = _tensors(weights)
    metadata = _metadata_of(tensors)
    wanted = preprocessing or metadata.get("preprocessing") or _official_preset(weights)
    if isinstance(tensors, Weights) and tensors.format == "tflite":
        from mininet.weights.tflite_network import recognise

        found = recognise(tensors, tensors.metadata, name, options)
        config, tensors, wanted = found.config, found.tensors, wanted or found.preset
    else:
        config = _configured(name, tensors, metadata, options)
    params, report = match(config, tensors)
    offset = _class_offset(metadata)
    if labels is None:
        labels = _labels(metadata, config.num_classes, offset)
    else:
        check_labels(labels, config.num_classes, offset)
    preset = _preset(wanted, name, config)
    return Network(config, params, preset, labels, offset, report)


def mobilenet_v1(weights: WeightsSource = None, **options: Any) -> Network:
    """MobileNetV1 (arXiv:1704.04861); arguments as for `create_model`."""
    return create_model("mobilenet_v1", weights, **options)


def mobilenet_v2(weights: WeightsSource = None, **options: Any) -> Network:
    """MobileNetV2 (arXiv:1801.04381); arguments as for `create_model`."""
    return create_model("mobilenet_v2", weights, **options)


def mobilenet_v3_large(weights: WeightsSource = None, **options: Any) -> Network:
    """MobileNetV3-Large (arXiv:1905.02244); arguments as for `create_model`."""
    return create_model("mobilenet_v3_large", weights, **options)


def mobilenet_v3_small(weights: WeightsSource = None, **options: Any) -> Network:
    """MobileNetV3-Small (arXiv:1905.02244); arguments as for `create_model`."""
    return create_model("mobilenet_v3_small", weights, **options)


def _untrained(
    name: str | None,
    weights: str,
    preprocessing: str | Preset | None,
    labels: str | Sequence[str] | None,
    options: dict[str, Any],
) -> Network:
    if name is None:
        raise ArgumentError("expected the name of a model, or weights that say which one they are for")
    seed = weights.removeprefix(RANDOM)
    if not seed.isdecimal():
        raise ArgumentError(f"expected 'random:<seed>' with a seed of digits, got {weights!r}")
    config = config_for(name, **options)
    if labels is not None:
        check_labels(labels, config.num_classes)
    params = random_params(build_graph(config).param_shapes(), int(seed))
    return Network(config, params, _preset(preprocessing, name, config), labels)


def _tensors(weights: str | os.PathLike[str] | Mapping[str, Any]) -> Mapping[str, Any]:
    if isinstance(weights, Mapping):
        return check_mapping("weights", weights)
    return read_weights(DIGITS if isinstance(weights, str) and weights == "digits" else weights)


def _metadata_of(tensors: Mapping[str, Any]) -> Mapping[str, str]:
    """What a file says about itself, as far as its words mean what ours do."""
    metadata = tensors.metadata if isinstance(tensors, Weights) else {}
    if metadata.get("format") == "mininet":
        return metadata
    return {key: metadata[key] for key in ("class_offset",) if key in metadata}


def _configured(
    name: str | None, tensors: Mapping[str, Any], metadata: Mapping[str, str], options: dict[str, Any]
) -> ModelConfig:
    """What to build: the caller's word first, then the file's metadata, then the tensors' shapes."""
    if "format" in metadata:
        _check_version(metadata.get("format_version", ""))
        known = ModelConfig.from_metadata(metadata)
        if name is not None and config_for(name, **options).architecture != known.architecture:
            raise WeightsError(f"the weights are for {known.architecture}, not for {name}")
        return replace(known, **options) if name is None else config_for(name, **{**_told(known), **options})
    if name is None:
        raise ArgumentError("these weights do not say which network they are for; give its name as well")
    config = config_for(name, **options)
    return infer_config_from(config, tensors, fixed=options)


def _check_version(text: str) -> None:
    version = _whole(text)
    if version is None or version < 1:
        raise WeightsError(f"metadata: expected a format version of 1 or more, got {brief(text)}")
    if version > FORMAT_VERSION:
        raise WeightsError(
            f"a newer mininet wrote the file: it has format version {version}, this mininet reads up to "
            f"{FORMAT_VERSION}; install a newer one, or save the network in a framework's format"
        )


def _told(config: ModelConfig) -> dict[str, Any]:
    """The options of a saved network, for a caller who names its architecture besides."""
    return {key: value for key, value in vars(config).items() if key != "architecture"}


def _official_preset(weights: WeightsSource) -> str | None:
    """The preset of an official checkpoint, which is known by its file's name."""
    if not isinstance(weights, (str, os.PathLike)):
        return None
    from mininet.checkpoints import preprocessing_of  # reads a table that other files have no need of

    return preprocessing_of(os.fsdecode(weights))


def _class_offset(metadata: Mapping[str, str]) -> int:
    text = metadata.get("class_offset", "0")
    offset = _whole(text)
    if offset is None:
        raise WeightsError(f"metadata: expected a whole number under 'class_offset', got {brief(text)}")
    return offset


def _whole(text: str) -> int | None:
    """The whole number that a file says, None if it is none or one that nobody means."""
    return int(text) if text.isdecimal() and len(text) <= 9 else None


def _labels(metadata: Mapping[str, str], num_classes: int, offset: int) -> str | list[str] | None:
    """The file's class names; ImageNet's for a thousand classes of a file that says nothing."""
    text = metadata.get("labels")
    if text is None:
        return "imagenet" if num_classes - offset == 1000 else None
    if not text.startswith("["):
        return text
    try:
        labels = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"metadata: expected a JSON list under 'labels'; {error}") from None
    return list(labels)


def _preset(wanted: str | Preset | None, name: str | None, config: ModelConfig) -> Preset:
    if wanted is None:
        wanted = preset_for(name or config.architecture, config)
    if isinstance(wanted, str) and wanted.startswith("{"):
        return Preset.from_json(wanted)
    return get_preset(wanted)
