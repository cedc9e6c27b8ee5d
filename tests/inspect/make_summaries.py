"""Write the golden tables that ``test_summary_text.py`` compares with: ``python make_summaries.py``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import mininet

GOLDEN = Path(__file__).resolve().parent / "golden"


def _text(name: str, **options: object) -> Callable[[], str]:
    shown = {key: options.pop(key) for key in ("input_shape", "depth", "node") if key in options}
    return lambda: str(mininet.create_model(name, **options).summary(**shown))


#: File name to the text that belongs in it.
TABLES: dict[str, Callable[[], str]] = {
    "v2.txt": _text("mobilenet_v2"),
    "v2_depth_1.txt": _text("mobilenet_v2", depth=1),
    "v2_depth_2.txt": _text("mobilenet_v2", width=0.35, depth=2, input_shape=(2, 3, 97, 160)),
    "v1_keras_depth_2.txt": _text("mobilenet_v1", lineage="keras", depth=2),
    "v3_small_block.txt": _text("mobilenet_v3_small", node="features.4"),
    "v3_large_depth_3.txt": _text("mobilenet_v3_large", depth=3),
    "digits.txt": lambda: str(mininet.create_model(weights="digits").summary(depth=2)),
    "v3_small.md": lambda: mininet.create_model("mobilenet_v3_small").summary(depth=2).to_markdown(),
    "v2_node.json": lambda: mininet.create_model("mobilenet_v2").summary(node="features.2.conv.1").to_json(),
}


def main() -> None:
    for name, make in TABLES.items():
        (GOLDEN / name).write_text(make() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
