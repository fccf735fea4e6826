"""Names of compiled functions by which XLA's cache on disk knows them again.

TensorFlow looks a program up by the name of its function, the shapes of its arguments and its HLO,
which has the name, too. It numbers functions in the order of their making, so that a restart would
find nothing.
"""

import contextlib
import hashlib
from collections.abc import Iterator
from typing import Any

from tensorflow.python.eager import context
from tensorflow.python.eager.polymorphic_function import atomic_function, concrete_function


@contextlib.contextmanager
def stable_names(enabled: bool = True) -> Iterator[None]:
    """Names the functions traced inside by their content, not by a running number.

    Of several equal functions that exist at a time, each has its own name. Uses private parts of
    TensorFlow; where another version lacks them, the names stay as they are.
    """
    numbered = getattr(concrete_function.ConcreteFunction, "from_func_graph", None)
    if not enabled or numbered is None or not hasattr(atomic_function, "from_func_graph"):
        yield
        return

    def by_content(
        graph: Any, function_type: Any, attrs: Any, shared_func_graph: bool = True
    ) -> concrete_function.ConcreteFunction:
        name = _name_of(graph, attrs)
        function = atomic_function.from_func_graph(name, graph, attrs, function_type)
        return concrete_function.ConcreteFunction(function, shared_func_graph=shared_func_graph)

    concrete_function.ConcreteFunction.from_func_graph = by_content
    try:
        yield
    finally:
        concrete_function.ConcreteFunction.from_func_graph = numbered


def _name_of(graph: Any, attrs: Any) -> str:
    """Returns a free name that follows from the content of a function."""
    content = graph.as_graph_def()
    for node in content.node:
        node.attr.pop("_gradient_op_type", None)  # a running number, of use in tracing alone
    digest = hashlib.sha256(content.SerializeToString(deterministic=True))
    digest.update(repr(sorted((attrs or {}).items(), key=str)).encode())
    stem, number = f"__inference_{graph.name}_{digest.hexdigest()[:16]}", 0
    while context.context().has_function(f"{stem}_{number}"):
        number += 1
    return f"{stem}_{number}"
