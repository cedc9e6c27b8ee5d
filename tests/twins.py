"""Twins of our networks in torchvision, timm and Keras, with seeded weights.

A twin knows how to run itself in float32 and float64 with every intermediate tensor, and how to
build our network with the same weights. Batch-norm statistics are calibrated on seeded random
images, so that activations keep a sane scale through all layers. Importing this file imports none
of the frameworks; making a twin does.
"""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import seeded
import twin_names

CALIBRATION_SEED = 7
# Large enough that the deepest layers see several pixels an image: statistics of 2x2 maps do not carry over.
CALIBRATION_SHAPE = (8, 3, 128, 128)
Tensors = dict[str, np.ndarray]

#: The timm patterns whose every match has a twin here.
TIMM_PATTERNS = ("mobilenetv1_*", "mobilenetv2_*", "mobilenetv3_*", "tf_mobilenetv3_*")
_library: Any = None  # keeps the operator definitions of _complete_torchvision alive


class Twin:
    """A reference network and what is needed to build ours beside it.

    Attributes
    ----------
    name : str
        The name for ``mininet.create_model``.
    create_kwargs : dict
        Keyword arguments for it, all but the weights.
    nodes : dict of str to str
        The framework's module or layer names to our node names, where they mean the same tensor.
    """

    def __init__(self, name: str, create_kwargs: Mapping[str, Any], nodes: Mapping[str, str]) -> None:
        self.name = name
        self.create_kwargs = dict(create_kwargs)
        self.nodes = dict(nodes)

    def __repr__(self) -> str:
        return " ".join([self.name, *(f"{key}={value}" for key, value in self.create_kwargs.items())])

    def state(self) -> Tensors:
        """The weights under the framework's own names, in its own layouts."""
        raise NotImplementedError

    def load(self, state: Tensors) -> None:
        """Replace all weights, batch-norm statistics included."""
        raise NotImplementedError

    def run(self, x: np.ndarray, dtype: str = "float32") -> tuple[np.ndarray, Tensors]:
        """Logits and intermediates of float32 images (N, C, H, W).

        Parameters
        ----------
        x : numpy.ndarray
            float32 (N, C, H, W).
        dtype : str
            ``"float32"`` or ``"float64"``: what the reference computes in.

        Returns
        -------
        tuple of numpy.ndarray and dict
            Logits (N, classes), and the output of every module by the framework's name, (N, C, H, W).
        """
        raise NotImplementedError

    def model(self) -> Any:
        """The framework's own float32 model with these weights, for the framework to write to a file."""
        raise NotImplementedError

    def build(self) -> Any:
        """Our network with the twin's weights."""
        import mininet

        return mininet.create_model(self.name, weights=self.state(), **self.create_kwargs)


class TorchTwin(Twin):
    """A twin that is a ``torch.nn.Module``."""

    def __init__(
        self,
        name: str,
        create_kwargs: Mapping[str, Any],
        module: Any,
        nodes: Mapping[str, str],
        seed: int,
    ) -> None:
        super().__init__(name, create_kwargs, nodes)
        self._modules = {"float32": module.eval()}
        self.load(seeded.state({key: value.shape for key, value in self.state().items()}, seed))
        _calibrate_torch(module)

    def model(self) -> Any:
        return self._modules["float32"]

    def state(self) -> Tensors:
        return {key: value.numpy().copy() for key, value in self._modules["float32"].state_dict().items()}

    def load(self, state: Tensors) -> None:
        import torch

        module = self._modules["float32"]
        # asarray keeps 0-d arrays 0-d, as num_batches_tracked is.
        module.load_state_dict({key: torch.from_numpy(np.asarray(value)) for key, value in state.items()})
        self._modules = {"float32": module}

    def run(self, x: np.ndarray, dtype: str = "float32") -> tuple[np.ndarray, Tensors]:
        import torch

        if dtype not in self._modules:
            self._modules[dtype] = copy.deepcopy(self._modules["float32"]).to(getattr(torch, dtype))
        module = self._modules[dtype]
        seen: Tensors = {}
        # A copy at once: an in-place activation overwrites the output of the module before it.
        hooks = [
            part.register_forward_hook(lambda _m, _i, out, key=key: seen.__setitem__(key, out.numpy().copy()))
            for key, part in module.named_modules()
            if key
        ]
        try:
            with torch.no_grad():
                logits = module(torch.from_numpy(x).to(getattr(torch, dtype))).numpy()
        finally:
            for hook in hooks:
                hook.remove()
        return logits, seen


class KerasTwin(Twin):
    """A twin from ``keras.applications``; one functional model per image size and dtype."""

    def __init__(
        self,
        name: str,
        create_kwargs: Mapping[str, Any],
        factory: Callable[..., Any],
        seed: int,
    ) -> None:
        self._factory = factory
        self._ready: dict[tuple[int, int, str], Any] = {}
        model = self._model(*CALIBRATION_SHAPE[2:], "float32")
        super().__init__(name, create_kwargs, twin_names.keras_nodes(_keras_layers(model)))
        self._state = seeded.state({key: value.shape for key, value in _keras_variables(model)}, seed)
        self._assign(model)
        _calibrate_keras(model)
        self._state = {key: np.array(value.numpy()) for key, value in _keras_variables(model)}

    def model(self) -> Any:
        model = self._model(*CALIBRATION_SHAPE[2:], "float32")
        self._assign(model)
        return model

    def state(self) -> Tensors:
        return {key: value.copy() for key, value in self._state.items()}

    def load(self, state: Tensors) -> None:
        self._state = dict(state)
        self._ready.clear()

    def run(self, x: np.ndarray, dtype: str = "float32") -> tuple[np.ndarray, Tensors]:
        import torch

        size = (x.shape[2], x.shape[3], dtype)
        if size not in self._ready:
            self._ready[size] = self._watched(*size)
        names, model = self._ready[size]
        with torch.no_grad(), _precision(dtype):
            outputs = model(_to_nhwc(x).astype(dtype), training=False)
        seen = {key: _to_nchw(out.cpu().numpy()) for key, out in zip(names, outputs, strict=True)}
        return seen[names[-1]], seen

    def _model(self, height: int, width: int, dtype: str) -> Any:
        keras = _keras()
        # Numbered layers (re_lu_3) start anew, so that names repeat; collecting garbage would cost a third.
        keras.backend.clear_session(free_memory=False)
        keras.config.set_dtype_policy(dtype)  # keras.applications has no argument for it
        try:
            return self._factory((height, width, 3))
        finally:
            keras.config.set_dtype_policy("float32")

    def _assign(self, model: Any) -> None:
        for key, variable in _keras_variables(model):
            variable.assign(self._state[key])

    def _watched(self, height: int, width: int, dtype: str) -> tuple[list[str], Any]:
        """The names of all layers but the input, and a model with all their outputs."""
        model = self._model(height, width, dtype)
        self._assign(model)
        layers = model.layers[1:]
        outputs = [layer.output for layer in layers]
        return [layer.name for layer in layers], _keras().Model(model.inputs[0], outputs)


def torchvision_twin(
    arch: str,
    width: float = 1.0,
    num_classes: int = 1000,
    *,
    pool: str = "avg",
    seed: int = 0,
) -> TorchTwin:
    """A twin from ``torchvision.models``, by its names: ``mobilenet_v2``, ``mobilenet_v3_large``, ...

    With ``num_classes=0`` it is the model's ``features``, pooled as told.
    """
    models = importlib.import_module(f"{torchvision().__name__}.models")
    # torchvision's V3 builders take no width: `width_mult` goes to the table's rounding.
    if arch == "mobilenet_v2":
        module = models.mobilenet_v2(width_mult=width, num_classes=num_classes)
    else:
        settings, last = models.mobilenetv3._mobilenet_v3_conf(arch, width_mult=width)
        module = models.MobileNetV3(settings, last, num_classes=num_classes)
    create_kwargs = {"width": width, "num_classes": num_classes}
    if not num_classes:
        module = _torch_features(module.features, pool)
        create_kwargs["pool"] = pool
    nodes = {key: key for key, _ in module.named_modules() if key}
    return TorchTwin(arch, create_kwargs, module, nodes, seed)


def _torch_features(features: Any, pool: str) -> Any:
    from torch import nn

    pooling = {"avg": [nn.AdaptiveAvgPool2d(1)], "max": [nn.AdaptiveMaxPool2d(1)], "none": []}[pool]
    module = nn.Sequential()
    module.add_module("features", features)
    for part in pooling:
        module.add_module(f"{pool}pool", part)
        module.add_module("flatten", nn.Flatten())
    return module


def timm_names() -> list[str]:
    """Every MobileNet V1 to V3 that the installed timm knows."""
    _complete_torchvision()  # timm's data module imports torchvision
    import timm

    return [name for pattern in TIMM_PATTERNS for name in timm.list_models(pattern)]


def timm_twin(arch: str, *, seed: int = 0) -> TorchTwin:
    """A twin from ``timm.create_model(arch)``, with its 1000 classes."""
    _complete_torchvision()
    import timm

    module = timm.create_model(arch, pretrained=False)
    return TorchTwin(f"timm/{arch}", {}, module, twin_names.timm_nodes(module), seed)


def keras_twin(
    arch: str,
    width: float = 1.0,
    num_classes: int = 1000,
    *,
    minimalistic: bool = False,
    pool: str = "avg",
    seed: int = 0,
) -> KerasTwin:
    """A twin from ``keras.applications``, by its names: ``MobileNet``, ``MobileNetV2``, ...

    With ``num_classes=0`` it is the model of ``include_top=False``, pooled as told.
    """
    applications = _keras().applications
    options: dict[str, Any] = {"alpha": width, "weights": None, "classifier_activation": None}
    create_kwargs: dict[str, Any] = {"width": width, "num_classes": num_classes}
    if num_classes:
        options["classes"] = num_classes
    else:
        options |= {"include_top": False, "pooling": None if pool == "none" else pool}
        create_kwargs["pool"] = pool
    if "V3" in arch:
        options |= {"include_preprocessing": False, "minimalistic": minimalistic}
        create_kwargs |= {"minimalistic": True} if minimalistic else {}

    def factory(shape: tuple[int, int, int]) -> Any:
        return getattr(applications, arch)(input_shape=shape, **options)

    return KerasTwin(f"keras/{arch}", create_kwargs, factory, seed)


def torchvision() -> Any:
    """The torchvision module, importable also where its compiled part does not load."""
    _complete_torchvision()
    return importlib.import_module("torchvision")


def _complete_torchvision() -> None:
    """Define the two operators that torchvision asks for at import, unless its own library brings them."""
    global _library
    import torch

    torch.set_num_threads(1)  # the suite is meant for one core, and sums keep one order
    spec = importlib.util.find_spec("torchvision")
    if _library is not None or spec is None or spec.origin is None:
        return
    for compiled in Path(spec.origin).parent.glob("_C*.so"):
        try:
            torch.ops.load_library(str(compiled))
        except OSError:
            continue
    if not hasattr(torch.ops.torchvision, "nms"):
        _library = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            _library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


def _calibrate_torch(module: Any) -> None:
    """Set the running statistics to those of one batch of seeded images, layer after layer in one pass."""
    import torch

    norms = [part for part in module.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a cumulative average, of one batch here
        norm.train()
    with torch.no_grad():
        module(torch.from_numpy(seeded.images(CALIBRATION_SEED, CALIBRATION_SHAPE)))
    module.eval()


def _keras() -> Any:
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras

    if keras.backend.backend() != "torch":
        raise RuntimeError(f"the Keras twins need KERAS_BACKEND=torch, not {keras.backend.backend()!r}")
    return keras


@contextlib.contextmanager
def _precision(dtype: str) -> Iterator[None]:
    """Keep a float64 run float64, so that the yardstick is not as inexact as what it measures.

    Under a float64 policy Keras's batch norms and means still round to float32, which Keras calls the common
    type of float64 and float32; and so does the 1/6 of V3's hard sigmoid, a constant of type `floatx`.
    """
    if dtype != "float64":
        yield
        return
    config = _keras().config
    modules = [importlib.import_module(f"keras.src.backend{name}") for name in ("", ".common.dtypes")]
    original, floatx = modules[0].result_type, config.floatx()

    def result_type(*kinds: Any) -> str:
        return "float64" if any("float64" in str(kind) for kind in kinds) else str(original(*kinds))

    for module in modules:
        module.result_type = result_type
    config.set_floatx(dtype)
    try:
        yield
    finally:
        config.set_floatx(floatx)
        for module in modules:
            module.result_type = original


def _keras_layers(model: Any) -> list[tuple[str, str]]:
    return [(layer.name, type(layer).__name__) for layer in model.layers]


def _keras_variables(model: Any) -> list[tuple[str, Any]]:
    """("layer/variable", variable) of all weights, batch-norm statistics included."""
    return [(f"{layer.name}/{value.name}", value) for layer in model.layers for value in layer.weights]


def _calibrate_keras(model: Any) -> None:
    """Set the moving statistics to those of one batch: with momentum 0 a training pass replaces them."""
    import torch

    for layer in model.layers:
        if type(layer).__name__ == "BatchNormalization":
            layer.momentum = 0.0
    images = seeded.images(CALIBRATION_SEED, CALIBRATION_SHAPE)
    with torch.no_grad():
        model(_to_nhwc(images), training=True)


def _to_nhwc(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values.transpose(0, 2, 3, 1))


def _to_nchw(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values.transpose(0, 3, 1, 2)) if values.ndim == 4 else values
