"""The contestants: cyconv and the frameworks it is measured against, each at its best.

Every peer has the same five methods. Four of them prepare a case and return a function without
arguments that computes it, or None where the peer cannot:

- ``conv_forward(shape, data, threads)``: returns the output;
- ``conv_backward(shape, data, threads)``: the gradients of input, weight and bias;
- ``pool_forward(shape, data, threads, indices)``: the output, or the output and the indices;
- ``pool_backward(shape, data, threads)``: the gradient of the input.

``prepare(threads)`` sets what a library keeps in one place for the whole process.
"""

import importlib.util
from functools import partial
from typing import NamedTuple

import numpy as np
from shapes import pair


class Data(NamedTuple):
    """The arrays of one case; `weight` and `bias` are None for pooling."""

    input: np.ndarray
    weight: np.ndarray | None
    bias: np.ndarray | None
    grad_output: np.ndarray


def conv_data(shape, dtype, seed=0):
    """Unit-normal images, and weights that keep the scale of the output near one."""
    draw = partial(np.random.default_rng(seed).standard_normal, dtype=dtype)
    weight = draw(shape.weight_shape)
    weight /= np.sqrt(np.prod(shape.weight_shape[1:]), dtype=dtype)
    return Data(draw(shape.input_shape), weight, draw(shape.C_out), draw(shape.output_shape))


def pool_data(shape, dtype, seed=0):
    """Unit-normal images and gradients."""
    draw = partial(np.random.default_rng(seed).standard_normal, dtype=dtype)
    return Data(draw(shape.input_shape), None, None, draw(shape.output_shape))


class Cyconv:
    """cyconv itself: the compiled kernels, one level or one algorithm of them, or the NumPy backend."""

    def __init__(self, variant="cython"):
        import threadpoolctl

        import cyconv._backend
        import cyconv.functional

        backend, _, algorithm = variant.partition(":")
        self._use = ("cython", backend) if backend in cyconv._backend.LEVELS else (backend, None)
        cyconv._backend.use(*self._use)
        self.name = f"cyconv-{variant}".replace("-cython", "")
        self.version = cyconv.__version__
        self.algorithm = algorithm or "auto"
        self.functional = cyconv.functional
        self._cyconv = cyconv
        self._blas = threadpoolctl.ThreadpoolController().select(user_api="blas")

    def prepare(self, threads):
        self._cyconv._backend.use(*self._use)
        self._cyconv.set_num_threads(threads)
        self._blas.limit(limits=threads)  # the NumPy backend multiplies with NumPy's own BLAS

    def conv_forward(self, shape, data, threads):
        return partial(
            self.functional.conv2d, data.input, data.weight, data.bias,
            shape.stride, shape.padding, shape.dilation, shape.groups, algorithm=self.algorithm,
        )

    def conv_backward(self, shape, data, threads):
        return partial(
            self.functional.conv2d_backward, data.grad_output, data.input, data.weight,
            shape.stride, shape.padding, shape.dilation, shape.groups, algorithm=self.algorithm,
        )

    def pool_forward(self, shape, data, threads, indices):
        return partial(
            self.functional.max_pool2d, data.input, shape.kernel, shape.stride, shape.padding,
            shape.dilation, return_indices=indices,
        )

    def pool_backward(self, shape, data, threads):
        self.prepare(threads)
        _, indices = self.pool_forward(shape, data, threads, indices=True)()
        return partial(
            self.functional.max_pool2d_backward, data.grad_output, indices, shape.input_shape
        )


class Torch:
    """PyTorch, called without autograd: its kernels alone, through the operators autograd itself calls.

    ``autograd.grad`` on a retained graph was measured at the same speed or slower. With `channels_last`
    its tensors lie in memory as (N, H, W, C), which many of its kernels prefer.
    """

    def __init__(self, channels_last=False):
        import torch

        self.name = "torch-channels-last" if channels_last else "torch"
        self.version = torch.__version__
        self.torch = torch
        self._layout = torch.channels_last if channels_last else torch.contiguous_format

    def prepare(self, threads):
        self.torch.set_num_threads(threads)

    def place(self, thing):
        """A tensor or a module in this contestant's memory layout."""
        return thing.to(memory_format=self._layout)

    def _tensors(self, data):
        tensors = [None if array is None else self.torch.from_numpy(array) for array in data]
        return [self.place(each) if each is not None and each.ndim == 4 else each for each in tensors]

    def conv_forward(self, shape, data, threads):
        input, weight, bias, _ = self._tensors(data)
        return partial(
            self.torch.conv2d, input, weight, bias, pair(shape.stride), pair(shape.padding),
            pair(shape.dilation), shape.groups,
        )

    def conv_backward(self, shape, data, threads):
        input, weight, _, grad_output = self._tensors(data)
        return partial(
            self.torch.ops.aten.convolution_backward, grad_output, input, weight, [shape.C_out],
            pair(shape.stride), pair(shape.padding), pair(shape.dilation), False, (0, 0), shape.groups,
            [True, True, True],
        )

    def pool_forward(self, shape, data, threads, indices):
        aten = self.torch.ops.aten
        function = aten.max_pool2d_with_indices if indices else self.torch.max_pool2d
        return partial(function, self._tensors(data)[0], *self._window(shape))

    def pool_backward(self, shape, data, threads):
        input, _, _, grad_output = self._tensors(data)
        _, indices = self.pool_forward(shape, data, threads, indices=True)()
        return partial(
            self.torch.ops.aten.max_pool2d_with_indices_backward, grad_output, input,
            *self._window(shape), False, indices,
        )

    @staticmethod
    def _window(shape):
        return pair(shape.kernel), pair(shape.stride), pair(shape.padding), pair(shape.dilation)


class OnnxRuntime:
    """ONNX Runtime: one session per case, weights prepacked, results written into bound arrays."""

    name = "onnxruntime"

    def __init__(self):
        import onnxruntime

        self.version = onnxruntime.__version__
        self.runtime = onnxruntime

    def prepare(self, threads):
        """Nothing: threads belong to the session."""

    def conv_forward(self, shape, data, threads):
        if data.input.dtype != np.float32:  # its CPU provider has no double convolution
            return None
        outputs = [np.ones(shape.output_shape, data.input.dtype)]
        return self._bind(conv_model(shape, data), data.input, outputs, threads)

    def conv_backward(self, shape, data, threads):
        return None

    def pool_forward(self, shape, data, threads, indices):
        outputs = [np.ones(shape.output_shape, data.input.dtype)]
        if indices:
            outputs.append(np.ones(shape.output_shape, np.int64))
        return self._bind(pool_model(shape, data, indices), data.input, outputs, threads)

    def pool_backward(self, shape, data, threads):
        return None

    def _bind(self, model, input, outputs, threads):
        options = self.runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        session = self.runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        binding = session.io_binding()
        binding.bind_cpu_input("input", input)
        for port, array in zip(session.get_outputs(), outputs, strict=True):
            binding.bind_output(port.name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)

        def call():
            session.run_with_iobinding(binding)
            return outputs

        call.input = input  # whose memory the binding borrows
        return call


class OpenVino:
    """OpenVINO: one compiled model per case, the LATENCY hint, results written into bound arrays.

    ``INFERENCE_PRECISION_HINT`` must be set: on a CPU with bfloat16 its default is to compute in that.
    """

    name = "openvino"

    def __init__(self):
        import openvino

        self.version = openvino.__version__
        self.openvino = openvino
        self.core = openvino.Core()

    def prepare(self, threads):
        """Nothing: threads belong to the compiled model."""

    def conv_forward(self, shape, data, threads):
        outputs = [np.ones(shape.output_shape, data.input.dtype)]
        return self._bind(conv_model(shape, data), data.input, outputs, threads)

    def conv_backward(self, shape, data, threads):
        return None

    def pool_forward(self, shape, data, threads, indices):
        outputs = [np.ones(shape.output_shape, data.input.dtype)]
        if indices:
            outputs.append(np.ones(shape.output_shape, np.int64))
        return self._bind(pool_model(shape, data, indices), data.input, outputs, threads)

    def pool_backward(self, shape, data, threads):
        return None

    def _bind(self, model, input, outputs, threads):
        if input.dtype != np.float32:  # its CPU plugin computes doubles in single precision
            return None
        options = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "f32",
        }
        compiled = self.core.compile_model(self.core.read_model(model, b""), "CPU", options)
        request = compiled.create_infer_request()
        request.set_input_tensor(self.openvino.Tensor(input, shared_memory=True))
        for position, array in enumerate(outputs):
            request.set_output_tensor(position, self.openvino.Tensor(array, shared_memory=True))

        def call():
            request.infer()
            return outputs

        call.input = input  # whose memory the request borrows
        return call


def conv_model(shape, data):
    """The convolution as a serialized ONNX model; weight and bias are constants of it."""
    from onnx import numpy_helper

    constants = [numpy_helper.from_array(data.weight, "weight"), numpy_helper.from_array(data.bias, "bias")]
    inputs = ["input", "weight", "bias"]
    return _onnx_model("Conv", shape, data.input, inputs, ["output"], constants, group=shape.groups)


def pool_model(shape, data, indices):
    """The max pooling as a serialized ONNX model, with one output or two."""
    outputs = ["output", "indices"] if indices else ["output"]
    return _onnx_model("MaxPool", shape, data.input, ["input"], outputs, [])


def _onnx_model(operator, shape, input, inputs, outputs, constants, **attributes):
    from onnx import TensorProto, helper

    node = helper.make_node(
        operator, inputs, outputs, kernel_shape=pair(shape.kernel), strides=pair(shape.stride),
        pads=pair(shape.padding) * 2, dilations=pair(shape.dilation), **attributes,
    )
    element = helper.np_dtype_to_tensor_dtype(input.dtype)
    types = {"output": element, "indices": TensorProto.INT64}
    graph = helper.make_graph(
        [node], "layer",
        [helper.make_tensor_value_info("input", element, input.shape)],
        [helper.make_tensor_value_info(name, types[name], shape.output_shape) for name in outputs],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return model.SerializeToString()


PEERS = {
    "torch": Torch,
    "torch-channels-last": partial(Torch, channels_last=True),
    "onnxruntime": OnnxRuntime,
    "openvino": OpenVino,
}
USUAL_PEERS = ("torch", "onnxruntime", "openvino")
NEEDS = {"onnxruntime": ["onnxruntime", "onnx"], "openvino": ["openvino", "onnx"]}


def load(variants, names):
    """Make the contestants, cyconv first, so that it can choose SciPy's BLAS before others load it.

    What is not installed is left out, with a line that says so.

    Parameters
    ----------
    variants : list of str
        Of cyconv: "cython", "numpy", a level ("base", "v3", "v4"), each with an algorithm if wanted, as
        "cython:im2col".
    names : list of str
        Keys of `PEERS`.
    """
    peers = []
    for variant in variants:
        try:
            peers.append(Cyconv(variant))
        except ImportError as error:
            print(f"cyconv ({variant}): skipped: {error}")
    for name in names:
        modules = NEEDS.get(name, ["torch"])
        missing = [module for module in modules if importlib.util.find_spec(module) is None]
        if missing:
            print(f"{name}: skipped, not installed: {', '.join(missing)}")
        else:
            peers.append(PEERS[name]())
    return peers
