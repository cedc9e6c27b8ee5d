"""Looking into a network: what it costs, what it is made of, what flows through it."""

from mininet.inspect.cost import NetworkCost, NodeCost, count_cost
from mininet.inspect.explain import explain
from mininet.inspect.explanation import Explanation, Term
from mininet.inspect.summary import Summary, summarise
from mininet.inspect.trace import Statistics, Trace
from mininet.inspect.trace_diff import NodeDiff, TraceDiff, diff_traces

__all__ = [
    "Explanation",
    "NetworkCost",
    "NodeCost",
    "NodeDiff",
    "Statistics",
    "Summary",
    "Term",
    "Trace",
    "TraceDiff",
    "count_cost",
    "diff_traces",
    "explain",
    "summarise",
]
