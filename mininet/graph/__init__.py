"""The graph: nodes, passes, and the three ways of running it."""

from mininet.graph.executor import KernelExecutor, Result, run_reference
from mininet.graph.graph import INPUT, Graph, GraphBuilder, Node
from mininet.graph.plan import Plan
from mininet.graph.runner import Runner

__all__ = [
    "INPUT",
    "Graph",
    "GraphBuilder",
    "KernelExecutor",
    "Node",
    "Plan",
    "Result",
    "Runner",
    "run_reference",
]
