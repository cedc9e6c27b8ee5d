"""Which of our nodes holds the tensor that a timm module or a Keras layer puts out.

Our nodes carry torchvision's dotted paths in every lineage. A timm or Keras layer without a node of
its own (an identity, a padding, Keras's ``x + 3`` inside the hard sigmoid) is left out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

_SQUEEZE = {"conv_reduce": "fc1", "act1": "activation", "conv_expand": "fc2", "gate": "scale_activation"}
_KERAS_SQUEEZE = {"avg_pool": "avgpool", "conv": "fc1", "relu": "activation", "conv_1": "fc2"}
_KERAS_BLOCK = re.compile(r"(?:expanded_conv|block)_(?:(\d+)_)?([A-Za-z]\w*)$")
_KERAS_ENDS = {
    **dict.fromkeys(("conv1", "Conv1", "conv"), "features.0.0"),
    **dict.fromkeys(("conv1_bn", "bn_Conv1", "conv_bn"), "features.0.1"),
    **dict.fromkeys(("conv1_relu", "Conv1_relu"), "features.0.2"),
    "predictions": "classifier.1",
}


def timm_nodes(model: Any) -> dict[str, str]:
    """timm's module paths to our node names, read from a timm MobileNet's own modules."""
    is_v3 = type(model).__name__ == "MobileNetV3"  # V1 and V2 are EfficientNets to timm
    nodes = _norm_act("conv_stem", "bn1", "features.0")
    blocks = [
        (f"blocks.{s}.{b}", part) for s, stage in enumerate(model.blocks) for b, part in enumerate(stage)
    ]
    for index, (path, block) in enumerate(blocks, start=1):
        nodes |= _timm_block(path, block, f"features.{index}", is_v3)
    if is_v3:  # pools before its last convolution
        nodes |= {"global_pool": "avgpool", "conv_head": "classifier.0", "act2": "classifier.1"}
        return nodes | {"classifier": "classifier.3"}
    if hasattr(model.conv_head, "weight"):
        nodes |= _norm_act("conv_head", "bn2", f"features.{len(blocks) + 1}")
    return nodes | {"global_pool": "flatten", "classifier": "classifier.1"}


def _timm_block(path: str, block: Any, node: str, is_v3: bool) -> dict[str, str]:
    if hasattr(block, "conv"):  # V3's last convolution
        return _norm_act(f"{path}.conv", f"{path}.bn1", node)
    expands = hasattr(block, "conv_pwl")
    if not expands and block.has_pw_act:  # V1
        first = _norm_act(f"{path}.conv_dw", f"{path}.bn1", f"{node}.0")
        return first | _norm_act(f"{path}.conv_pw", f"{path}.bn2", f"{node}.1") | {path: node}
    inner = f"{node}.block" if is_v3 else f"{node}.conv"
    nodes = {path: node}
    steps = [("conv_pw", "bn1"), ("conv_dw", "bn2")] if expands else [("conv_dw", "bn1")]
    for step, (conv, norm) in enumerate(steps):
        nodes |= _norm_act(f"{path}.{conv}", f"{path}.{norm}", f"{inner}.{step}")
    step = len(steps)
    if hasattr(block.se, "conv_reduce"):
        nodes |= {f"{path}.se.{theirs}": f"{inner}.{step}.{ours}" for theirs, ours in _SQUEEZE.items()}
        nodes[f"{path}.se"] = f"{inner}.{step}"
        step += 1
    conv, norm = ("conv_pwl", "bn3") if expands else ("conv_pw", "bn2")
    ours_conv, ours_norm = _projection(inner, step, is_v3)
    return nodes | {f"{path}.{conv}": ours_conv, f"{path}.{norm}.act": ours_norm}


def _norm_act(conv: str, norm: str, node: str) -> dict[str, str]:
    # timm's norm module ends with the activation; its identity `drop` sits between the two.
    return {conv: f"{node}.0", f"{norm}.drop": f"{node}.1", f"{norm}.act": f"{node}.2"}


def _projection(inner: str, step: int, is_v3: bool) -> tuple[str, str]:
    """Convolution and norm of a block's last step: flat in torchvision's V2, a sequence in its V3."""
    if is_v3:
        return f"{inner}.{step}.0", f"{inner}.{step}.1"
    return f"{inner}.{step}", f"{inner}.{step + 1}"


def keras_nodes(layers: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Keras's layer names to our node names.

    Parameters
    ----------
    layers : sequence of (str, str)
        Name and class of every layer of a ``keras.applications`` MobileNet, in order.
    """
    named = {name for name, _ in layers}
    is_v3 = "conv_1_bn" in named
    blocks = [int(found[1]) for name in named if (found := _KERAS_BLOCK.match(name)) and found[1]]
    last = f"features.{max(blocks, default=0) + 2}"  # V1 has no layer of that name to look up
    ends = _KERAS_ENDS | {"Conv_1": f"{last}.0", "Conv_1_bn": f"{last}.1", "out_relu": f"{last}.2"}
    if is_v3:
        ends |= {"conv_1": f"{last}.0", "conv_1_bn": f"{last}.1", "conv_2": "classifier.0"}
        ends["predictions"] = "classifier.3"
    nodes: dict[str, str] = {}
    previous = ""
    for name, kind in layers:
        node = ends.get(name) or _keras_v1(name) or _keras_block(name, named, is_v3)
        if node is None and kind == "GlobalAveragePooling2D":
            node = "flatten" if "out_relu" in named else "avgpool"  # V2's drops the axes of size 1
        if node is None and kind in ("ReLU", "Activation"):  # V3's are numbered, so their place must tell
            node = _after(previous)
        if node:
            nodes[name] = node
        previous = node or ""
    return nodes


def _after(node: str) -> str | None:
    """The activation that follows a norm (``x.1``) or V3's first classifier layer."""
    if node == "classifier.0":
        return "classifier.1"
    return f"{node[:-1]}2" if node.endswith(".1") else None


def _keras_v1(name: str) -> str | None:
    found = re.fullmatch(r"conv_(dw|pw)_(\d+)(_bn|_relu)?", name)
    if not found:
        return None
    return f"features.{found[2]}.{('dw', 'pw').index(found[1])}.{(None, '_bn', '_relu').index(found[3])}"


def _keras_block(name: str, named: set[str], is_v3: bool) -> str | None:
    """The node of a layer of an inverted residual block of V2 or V3."""
    found = _KERAS_BLOCK.match(name)
    if not found:
        return None
    prefix, part = name[: found.start(2)], found[2].lower()
    node = f"features.{int(found[1] or 0) + 1}"
    inner = f"{node}.block" if is_v3 else f"{node}.conv"
    step = int(f"{prefix}expand" in named)
    squeeze = f"{prefix}squeeze_excite_mul" in named
    nodes = {"add": node, "squeeze_excite_mul": f"{inner}.{step + 1}"}
    for index, suffix in enumerate(("", "_bn", "_relu")):
        nodes |= {f"expand{suffix}": f"{inner}.0.{index}", f"depthwise{suffix}": f"{inner}.{step}.{index}"}
    for theirs, ours in _KERAS_SQUEEZE.items():
        nodes[f"squeeze_excite_{theirs}"] = f"{inner}.{step + 1}.{ours}"
    nodes["project"], nodes["project_bn"] = _projection(inner, step + 1 + squeeze, is_v3)
    return nodes.get(part)
