# The functions of every level; those of cyconv._reference, by name and by type.
from cyconv._types import Algorithm, Array, Float, Indices, Plan, Shape
from cyconv._window import Window

BLAS_GUARD: object
NO_GUARD: object
OPENMP: bool
OWN_GEMM: bool
ALGORITHM_NAMES: dict[int, str]
c_table: object

def adam_update(
    param: Array[Float],
    grad: Array[Float],
    first: Array[Float],
    second: Array[Float],
    beta1: float,
    beta2: float,
    step_size: float,
    root: float,
    eps: float,
    shrink: float,
    weight_decay: float,
) -> None: ...
def avg_pool2d_backward(
    grad_output: Array[Float], window: Window, count_include_pad: bool, grad_input: Array[Float]
) -> None: ...
def avg_pool2d_forward(
    input: Array[Float], window: Window, count_include_pad: bool, output: Array[Float]
) -> None: ...
def batch_norm_backward(
    grad_output: Array[Float],
    input: Array[Float],
    mean: Array[Float],
    inverse: Array[Float],
    weight: Array[Float],
    grad_input: Array[Float] | None,
    grad_weight: Array[Float],
    grad_bias: Array[Float],
) -> None: ...
def batch_norm_forward(
    input: Array[Float], mean: Array[Float], scale: Array[Float], bias: Array[Float], output: Array[Float]
) -> None: ...
def batch_norm_statistics(input: Array[Float], mean: Array[Float], var: Array[Float]) -> None: ...
def col2im(columns: Array[Float], window: Window, output: Array[Float]) -> None: ...
def conv2d_backward_input(
    grad_output: Array[Float],
    weight: Array[Float],
    window: Window,
    groups: int,
    algorithm: Algorithm,
    grad_input: Array[Float],
) -> None: ...
def conv2d_backward_weight(
    grad_output: Array[Float],
    input: Array[Float],
    window: Window,
    groups: int,
    algorithm: Algorithm,
    grad_weight: Array[Float],
) -> None: ...
def conv2d_forward(
    input: Array[Float],
    weight: Array[Float],
    bias: Array[Float] | None,
    window: Window,
    groups: int,
    algorithm: Algorithm,
    relu: bool,
    output: Array[Float],
) -> None: ...
def conv2d_plan(
    image_shape: Shape,
    output_shape: Shape,
    itemsize: int,
    window: Window,
    groups: int,
    algorithm: Algorithm,
    which: str,
) -> Plan: ...
def dropout(input: Array[Float], seed: int, p: float, output: Array[Float]) -> None: ...
def im2col(input: Array[Float], window: Window, columns: Array[Float]) -> None: ...
def matmul(
    a: Array[Float],
    transpose_a: bool,
    b: Array[Float],
    transpose_b: bool,
    bias: Array[Float] | None,
    relu: bool,
    output: Array[Float],
) -> None: ...
def matmul_plan(m: int, n: int, k: int, transpose_a: bool, transpose_b: bool, itemsize: int) -> Plan: ...
def max_pool2d_backward(grad_output: Array[Float], indices: Indices, grad_input: Array[Float]) -> int: ...
def max_pool2d_forward(
    input: Array[Float], window: Window, output: Array[Float], indices: Indices | None
) -> None: ...
def relu_backward(grad_output: Array[Float], output: Array[Float], grad_input: Array[Float]) -> None: ...
def relu_forward(input: Array[Float], output: Array[Float]) -> None: ...
def sgd_update(
    param: Array[Float],
    grad: Array[Float],
    velocity: Array[Float] | None,
    lr: float,
    momentum: float,
    nesterov: bool,
    weight_decay: float,
) -> None: ...
def softmax_cross_entropy(
    logits: Array[Float], targets: Array[Float] | Indices, losses: Array[Float], grad_logits: Array[Float]
) -> None: ...
def sum_channels(input: Array[Float], total: Array[Float]) -> None: ...
