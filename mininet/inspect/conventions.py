"""How each tool counts a network, as tables: one rule per kind of node.

The tools disagree in three ways: which nodes they count at all, what they count a node for, and which
calls they can see. The last follows from how the torch implementation is written: a tool that hooks
modules misses a pooling done by a function, and one that hooks both counts some of them twice. What a
node is written as stands in `CODES`, what a tool makes of it in `CONVENTIONS`.

Sources, read and run: fvcore 0.1.5 (nn/flop_count.py, jit_handles.py), ptflops 0.7.5 (pytorch_ops.py,
pytorch_engine.py, aten_ops.py), thop 0.1.1 (vision/basic_hooks.py, calc_func.py), torchinfo 1.8.0
(layer_info.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import prod

from mininet.errors import GraphError
from mininet.graph import Graph, Node
from mininet.ops import BatchNorm, Conv2d, DepthwiseConv2d, Flatten, GlobalAvgPool
from mininet.ops.base import Op, Shape

MODULE = "module"
"""Written as a plain torch.nn module."""
FUNCTION = "function"
"""Written as a call of torch.nn.functional."""
METHOD = "method"
"""Written as a tensor method or an operator, ``x.mean((2, 3))``, which no tool sees."""
SUBCLASS = "subclass"
"""Written as a subclass of the torch.nn module (timm's BatchNormAct2d, Conv2dSame, Linear): tools that ask
for the exact type pass it over. The first holds modules of its own: tools that want leaves pass it over."""


@dataclass(frozen=True)
class Code:
    """How a torch implementation writes the nodes that tools may miss.

    Attributes
    ----------
    classifier : str
        The last linear layer: `MODULE` or `SUBCLASS`.
    norm : str
        Batch norms: `MODULE` or `SUBCLASS`.
    pool : str
        The pooling before the classifier: `MODULE`, `FUNCTION` or `METHOD`.
    squeeze_pool : str
        The pooling within squeeze-and-excite.
    same_conv : str
        Strided convolutions of padding SAME, which torch.nn does not have.
    """

    classifier: str = MODULE
    norm: str = MODULE
    pool: str = MODULE
    squeeze_pool: str = MODULE
    same_conv: str = MODULE


_TIMM = Code(norm=SUBCLASS, squeeze_pool=METHOD, same_conv=SUBCLASS)
_TIMM_V3 = replace(_TIMM, classifier=SUBCLASS)
CODES: dict[str, dict[str, Code]] = {
    "torchvision": {  # torchvision 0.28, models/mobilenetv2.py, mobilenetv3.py, ops/misc.py
        "mobilenet_v1": Code(norm=SUBCLASS),  # which torchvision does not have: timm's
        "mobilenet_v2": Code(pool=FUNCTION),
        "mobilenet_v3_large": Code(),
        "mobilenet_v3_small": Code(),
    },
    "timm": {  # timm 1.0, models/efficientnet.py, mobilenetv3.py, _efficientnet_blocks.py
        "mobilenet_v1": _TIMM,
        "mobilenet_v2": _TIMM,
        "mobilenet_v3_large": _TIMM_V3,
        "mobilenet_v3_small": _TIMM_V3,
    },
}
"""Implementations that the tools are run on, by library and architecture."""


@dataclass(frozen=True)
class Site:
    """A node as a rule sees it: its op, the shapes around it, and how torch code writes it."""

    op: Op
    inputs: tuple[Shape, ...]
    output: Shape
    written: str

    @property
    def products(self) -> int:
        """Multiply-adds as the papers count them."""
        return self.op.multiply_adds(*self.inputs)

    @property
    def outputs(self) -> int:
        """Elements written."""
        return prod(self.output)


@dataclass(frozen=True)
class Rule:
    """What one kind of node counts for: in words, and as a function of its site."""

    text: str
    count: Callable[[Site], int]


@dataclass(frozen=True)
class Convention:
    """A way to count.

    Attributes
    ----------
    name : str
    about : str
        What it is, in one sentence.
    rules : mapping of str to Rule
        By kind of op.
    default : Rule or None
        For kinds without a rule of their own; None refuses them, rather than count them wrong.
    """

    name: str
    about: str
    rules: Mapping[str, Rule]
    default: Rule | None = None

    def rule_for(self, op: Op) -> Rule:
        """The rule for an op.

        Raises
        ------
        GraphError
            If the convention says nothing about that kind of op.
        """
        rule = self.rules.get(op.kind, self.default)
        if rule is None:
            raise GraphError(
                f"the convention {self.name!r} has no rule for {op.kind}: count an unfused graph"
            )
        return rule


def _with_bias(site: Site) -> int:
    return site.products + (site.outputs if getattr(site.op, "bias", False) else 0)


def _only(*forms: str) -> Callable[[Callable[[Site], int]], Callable[[Site], int]]:
    """Make a count zero for nodes that are written otherwise, and so are not seen."""

    def restrict(count: Callable[[Site], int]) -> Callable[[Site], int]:
        return lambda site: count(site) if site.written in forms else 0

    return restrict


def _pixels(site: Site) -> int:
    return prod(site.inputs[0])


def _hooked_and_patched(site: Site) -> int:
    """A module is hooked, and calls a function that is patched: two counts where a function has one."""
    return _pixels(site) * {MODULE: 2, FUNCTION: 1, METHOD: 0}[site.written]


def _per_channel_affine(site: Site) -> int:
    """Weight and bias, once per image."""
    assert isinstance(site.op, BatchNorm)
    return site.output[0] * 2 * site.op.channels


_NOTHING = Rule("not counted", lambda site: 0)
_PRODUCTS = Rule("products", lambda site: site.products)
_BIASED = Rule("products, and one per output for a bias", _with_bias)
_TWO_EACH = Rule("2 per element", lambda site: 2 * site.outputs)

_WEIGHTED = ("conv2d", "depthwise_conv2d", "pointwise_conv2d", "linear")
_UNCOUNTED = dict.fromkeys(
    (
        *("relu", "relu6", "hard_swish", "hard_sigmoid", "sigmoid", "add", "multiply", "dropout", "flatten"),
        "global_max_pool",
    ),
    _NOTHING,
)


def _table(weighted: Rule, norm: Rule = _NOTHING, pool: Rule = _NOTHING, **others: Rule) -> dict[str, Rule]:
    """Rules of a tool that counts convolutions and linear layers alike, and other kinds as told."""
    rules = {**_UNCOUNTED, **dict.fromkeys(_WEIGHTED, weighted), "batch_norm": norm, "global_avg_pool": pool}
    return {**rules, **others}


_LIST = (
    Convention(
        "paper",
        "the MobileNet papers: products of convolutions (padding as if it were pixels) and linear layers",
        {},
        _PRODUCTS,
    ),
    Convention(
        "fvcore",
        "fvcore.nn.FlopCountAnalysis: also 2 per batch-norm element, and the pixels that are pooled",
        _table(
            _PRODUCTS,
            _TWO_EACH,
            Rule("1 per pooled element, unless a method pools", _only(MODULE, FUNCTION)(_pixels)),
        ),
    ),
    Convention(
        "ptflops",
        "ptflops, its pytorch backend: also biases, batch norm, ReLU and pooling, some of them twice",
        _table(
            Rule("products of a plain module, and one per output for a bias", _only(MODULE)(_with_bias)),
            Rule("2 per element of a plain module", _only(MODULE)(lambda site: 2 * site.outputs)),
            Rule("pooled elements: twice for a module, once for a function", _hooked_and_patched),
            global_max_pool=Rule("2 per pooled element (hook and patched function)", _hooked_and_patched),
            relu=Rule("2 per element (hook and patched function)", lambda site: 2 * site.outputs),
            relu6=Rule("1 per element", lambda site: site.outputs),
        ),
    ),
    Convention("ptflops-aten", "ptflops, its aten backend: also biases", _table(_BIASED)),
    Convention(
        "thop",
        "thop.profile: also 4 per batch-norm element and pooling, where they are plain modules",
        _table(
            Rule("products of a plain module", _only(MODULE)(lambda site: site.products)),
            Rule("4 per element of a plain module", _only(MODULE)(lambda site: 4 * site.outputs)),
            Rule(
                "pooled elements of a plain module, and one division per channel",
                _only(MODULE)(lambda site: _pixels(site) + site.outputs),
            ),
        ),
    ),
    Convention(
        "torchinfo",
        "torchinfo.summary: weights times positions, biases too, and batch norm's weights once",
        _table(
            _BIASED, Rule("weights of a plain module, once per image", _only(MODULE)(_per_channel_affine))
        ),
    ),
    Convention(
        "timm",
        "timm's published GMACs: products, and 2 per batch-norm element",
        _table(_PRODUCTS, _TWO_EACH),
    ),
)
CONVENTIONS: dict[str, Convention] = {convention.name: convention for convention in _LIST}
"""Every way to count, by name."""


def code_for(architecture: str, lineage: str = "torchvision") -> Code:
    """How the torch implementation is written that a tool would be run on.

    Parameters
    ----------
    architecture : str
        For example ``"mobilenet_v2"``; a plain `Code` for any that is not known.
    lineage : str
        timm's lineages stand for timm's code, all others for torchvision's.
    """
    library = "timm" if lineage.startswith("timm") else "torchvision"
    return CODES[library].get(architecture, Code())


def forms(graph: Graph, code: Code) -> dict[str, str]:
    """What each node is written as, by its name."""
    readers = graph.consumers()

    def form(node: Node) -> str:
        if isinstance(node.op, BatchNorm):
            return code.norm
        if isinstance(node.op, GlobalAvgPool):
            last = any(isinstance(reader.op, Flatten) for reader in readers[node.name])
            return code.pool if last else code.squeeze_pool
        if isinstance(node.op, (Conv2d, DepthwiseConv2d)) and node.op.padding == "same":
            return MODULE if node.op.stride == (1, 1) else code.same_conv
        return code.classifier if node.name in graph.outputs else MODULE

    return {node.name: form(node) for node in graph.nodes}
