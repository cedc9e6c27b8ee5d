"""The engines that `peers.py` compares, each behind the same few lines: load, run, give back the logits."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import warnings
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

import mininet


@dataclass
class Model:
    """A network with its weights and an input, and where its files in other formats lie.

    Attributes
    ----------
    name : str
    module : torch.nn.Module
        In evaluation mode; everybody gets its weights.
    net : mininet.Network
        Ours, with those weights.
    x : float32 (N, 3, H, W)
    folder : Path
        Each file is made when first asked for.
    """

    name: str
    module: Any
    net: mininet.Network
    x: np.ndarray
    folder: Path

    @property
    def onnx(self) -> str:
        """File for this very batch, so that nobody has to guess shapes."""
        import torch

        path = self.folder / f"model_{len(self.x)}.onnx"
        if not path.exists():
            names = {"input_names": ["x"], "output_names": ["y"]}
            with warnings.catch_warnings():  # the exporter that needs no more packages is the older one
                warnings.simplefilter("ignore", DeprecationWarning)
                torch.onnx.export(self.module, (torch.from_numpy(self.x),), str(path), dynamo=False, **names)
        return str(path)

    @property
    def tflite(self) -> str:
        """File of our graph as TFLite has it, for this very batch."""
        from tflite_file import tflite_of

        path = self.folder / f"model_{len(self.x)}.tflite"
        if not path.exists():
            path.write_bytes(tflite_of(self.net.graph, self.x.shape))
        return str(path)

    @property
    def ncnn(self) -> tuple[str, str]:
        """Structure and weights in float32, for one image at a time."""
        import torch

        structure, weights = self.folder / "model.ncnn.param", self.folder / "model.ncnn.bin"
        if not structure.exists():
            traced, image = self.folder / "model.pt", torch.from_numpy(self.x[:1])
            torch.jit.trace(self.module, image).save(str(traced))
            shape = ",".join(map(str, image.shape))
            command = [_program("pnnx"), str(traced), f"inputshape=[{shape}]", "fp16=0"]
            subprocess.run(command, cwd=self.folder, check=True, capture_output=True, timeout=600)
        return str(structure), str(weights)


class Engine:
    """A loaded network. ``run()`` computes the logits (N, classes) of the model's input."""

    name: ClassVar[str]
    package: ClassVar[str]
    """Distribution whose version is printed."""
    needs: ClassVar[tuple[str, ...]] = ()
    """Modules without which it cannot be."""

    def __init__(self, model: Model, threads: int) -> None:
        raise NotImplementedError

    def prepare(self) -> None:
        """Set what is global to the process before a series of runs."""

    def run(self) -> np.ndarray:
        """Logits, as the engine hands them over."""
        raise NotImplementedError

    @classmethod
    def version(cls) -> str:
        """Version of the package."""
        return version(cls.package)

    @classmethod
    def missing(cls) -> list[str]:
        """Which of the modules it needs are not installed."""
        return [name for name in cls.needs if importlib.util.find_spec(name) is None]


class Mininet(Engine):
    """The one that the others are compared with."""

    name, package = "mininet", "mininet-mobilenet"

    def __init__(self, model: Model, threads: int) -> None:
        self.net, self.x, self.threads = model.net, model.x, threads

    def prepare(self) -> None:
        mininet.set_num_threads(self.threads)

    def run(self) -> np.ndarray:
        return self.net(self.x)

    @classmethod
    def version(cls) -> str:
        return mininet.__version__


class LiteRT(Engine):
    """TensorFlow Lite's successor with its XNNPACK delegate, which is the default."""

    name, package, needs = "LiteRT", "ai-edge-litert", ("ai_edge_litert", "tflite", "flatbuffers")

    def __init__(self, model: Model, threads: int) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self.interpreter = Interpreter(model_path=model.tflite, num_threads=threads)
        self.interpreter.allocate_tensors()
        self.input = self.interpreter.get_input_details()[0]["index"]
        self.output = self.interpreter.get_output_details()[0]["index"]
        self.x = np.ascontiguousarray(model.x.transpose(0, 2, 3, 1))

    def run(self) -> np.ndarray:
        self.interpreter.set_tensor(self.input, self.x)
        self.interpreter.invoke()
        return self.interpreter.get_tensor(self.output)


class OnnxRuntime(Engine):
    """CPU execution provider, all graph optimisations."""

    name, package, needs = "onnxruntime", "onnxruntime", ("onnxruntime", "onnx")

    def __init__(self, model: Model, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        self.session = onnxruntime.InferenceSession(model.onnx, options, providers=["CPUExecutionProvider"])
        self.feed = {self.session.get_inputs()[0].name: model.x}

    def run(self) -> np.ndarray:
        return self.session.run(None, self.feed)[0]


class OpenVINO(Engine):
    """One stream, tuned for latency, and float32: left alone it would take bfloat16."""

    name, package, needs = "OpenVINO", "openvino", ("openvino", "onnx")

    def __init__(self, model: Model, threads: int) -> None:
        import openvino

        settings = {
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
        }
        compiled = openvino.Core().compile_model(model.onnx, "CPU", settings)
        self.request, self.x = compiled.create_infer_request(), model.x

    def run(self) -> np.ndarray:
        return self.request.infer([self.x], share_inputs=True, share_outputs=True)[0]


class Ncnn(Engine):
    """float32 storage and arithmetic. It has no batches: images run one after the other."""

    name, package, needs = "ncnn", "ncnn", ("ncnn", "pnnx")

    def __init__(self, model: Model, threads: int) -> None:
        import ncnn

        self.ncnn, self.net, self.x = ncnn, ncnn.Net(), model.x
        options = self.net.opt
        options.num_threads = threads
        for name in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_storage"):
            setattr(options, f"use_{name}", False)
        structure, weights = model.ncnn
        self.net.load_param(structure)
        self.net.load_model(weights)

    def run(self) -> np.ndarray:
        logits = []
        for image in self.x:
            extractor = self.net.create_extractor()
            extractor.input("in0", self.ncnn.Mat(image))
            logits.append(np.array(extractor.extract("out0")[1]))
        return np.stack(logits)


class Torch(Engine):
    """Eager."""

    name, package, needs = "torch", "torch", ("torch",)

    def __init__(self, model: Model, threads: int) -> None:
        import torch

        self.torch, self.threads = torch, threads
        self.module, self.x = model.module, torch.from_numpy(model.x)

    def prepare(self) -> None:
        self.torch.set_num_threads(self.threads)

    def run(self) -> np.ndarray:
        with self.torch.no_grad():
            return self.module(self.x).numpy()


class TorchCompiled(Torch):
    """``torch.compile`` with the weights frozen, which lets it fold batch norms and pack weights."""

    name = "torch compiled"

    def __init__(self, model: Model, threads: int) -> None:
        super().__init__(model, threads)
        import torch._dynamo
        import torch._inductor.config

        torch._dynamo.reset()  # what is compiled for one number of threads is not for another
        torch._inductor.config.freezing = True
        self.prepare()
        self.module = torch.compile(model.module)
        self.run()


ENGINES: tuple[type[Engine], ...] = (Mininet, LiteRT, OnnxRuntime, OpenVINO, Ncnn, TorchCompiled, Torch)


def _program(name: str) -> str:
    """A program of the environment that runs this, activated or not."""
    beside = Path(sys.executable).with_name(name)
    return str(beside) if os.access(beside, os.X_OK) else name
