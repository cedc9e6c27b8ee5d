"""Writing the charts that ``--plot`` asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mininet.cli.output import remark
from mininet.errors import ArgumentError
from mininet.inspect import NetworkCost
from mininet.inspect.plots import render
from mininet.network import Network
from mininet.reporting import node_seconds
from mininet.weights.atomic import atomic_write

Draw = Callable[[NetworkCost, Mapping[str, float]], Any]


def write_chart(path: str, net: Network, cost: NetworkCost, draw: Draw) -> None:
    """Time every node on an input of zeros of the cost's shape, draw the chart and write it, whole."""
    figure = draw(cost, node_seconds(net, np.zeros(cost.input_shape, np.float32)))
    with atomic_write(path, ArgumentError) as file:
        file.write(render(figure, path))
    remark(f"wrote {path}")
