"""softmax_cross_entropy: values, gradient, extreme logits, errors."""

import math

import numpy as np
import pytest

from cyconv import softmax_cross_entropy

LOGITS = np.array([[1.0, 2.0, -0.5], [0.3, 0.0, 4.0]])
INDICES = np.array([2, 1])


def by_hand(row, probabilities):
    """-sum of t * log(softmax), in Python floats, without a shift."""
    total = math.fsum(math.exp(x) for x in row)
    return -math.fsum(t * math.log(math.exp(x) / total) for x, t in zip(row, probabilities, strict=True))


def one_hot(indices, K, dtype=np.float64):
    return np.eye(K, dtype=dtype)[indices]


def test_value_and_gradient_of_torch():
    # torch.nn.functional.cross_entropy and its backward, torch 2.13, float64
    loss, grad_logits = softmax_cross_entropy(LOGITS, INDICES)
    expected = [
        [0.12685809081751262, 0.3448360430622518, -0.47169413387976433],
        [0.011851676951089435, -0.4912200617689994, 0.47936838481790994],
    ]
    assert type(loss) is float
    assert loss == pytest.approx(3.456838878923075, rel=1e-14)  # a few roundings of float64
    np.testing.assert_allclose(grad_logits, expected, rtol=1e-13)


def test_value_by_the_formula():
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((6, 5))
    probabilities = rng.dirichlet(np.ones(5), 6)
    loss, _ = softmax_cross_entropy(logits, probabilities)
    expected = sum(map(by_hand, logits.tolist(), probabilities.tolist())) / 6
    assert loss == pytest.approx(expected, rel=1e-14)  # sums of 30 terms, a few roundings


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_indices_are_one_hot_probabilities(dtype):
    rng = np.random.default_rng(1)
    logits = rng.standard_normal((7, 4)).astype(dtype)
    indices = rng.integers(4, size=7)
    by_index = softmax_cross_entropy(logits, indices)
    by_probability = softmax_cross_entropy(logits, one_hot(indices, 4, dtype))
    # one operation more, and log of one column or of a matrix: some units in the last place
    rounding = 4 * float(np.finfo(dtype).eps)
    assert by_index[0] == pytest.approx(by_probability[0], rel=rounding)
    np.testing.assert_allclose(by_index[1], by_probability[1], rtol=rounding)
    assert by_index[1].dtype == by_probability[1].dtype == dtype


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int32, np.uint32, np.int64])
def test_any_integer_type_of_indices(kind):
    expected = softmax_cross_entropy(LOGITS, INDICES)
    loss, grad_logits = softmax_cross_entropy(LOGITS, INDICES.astype(kind))
    assert loss == expected[0]
    np.testing.assert_array_equal(grad_logits, expected[1])


def test_equal_logits_cost_log_k():
    loss, grad_logits = softmax_cross_entropy(np.zeros((2, 10)), np.array([3, 9]))
    assert loss == pytest.approx(math.log(10), rel=1e-15)
    assert grad_logits[0, 3] == pytest.approx((0.1 - 1) / 2, rel=1e-15)
    assert grad_logits[0, 0] == pytest.approx(0.1 / 2, rel=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_huge_logits_do_not_overflow(dtype):
    largest = np.finfo(dtype).max / 4
    logits = np.array([[largest, 0, -largest], [-1000, 1000, 0]], dtype)
    loss, grad_logits = softmax_cross_entropy(logits, np.array([0, 1]))
    assert loss == 0
    np.testing.assert_array_equal(grad_logits, 0)
    loss, grad_logits = softmax_cross_entropy(np.array([[1000, 0], [0, 1000]], dtype), np.array([1, 1]))
    assert loss == 500  # 1000 and 0
    np.testing.assert_array_equal(grad_logits, [[0.5, -0.5], [0, 0]])


def test_a_shift_changes_nothing():
    loss, grad_logits = softmax_cross_entropy(LOGITS, INDICES)
    shifted = softmax_cross_entropy(LOGITS + 64, INDICES)  # exact: 64 + x loses no more than the last 7 bits
    assert shifted[0] == pytest.approx(loss, rel=1e-13)
    np.testing.assert_allclose(shifted[1], grad_logits, rtol=1e-12)


def test_an_impossible_class_costs_nothing_where_it_is_not_the_target():
    logits = np.array([[-np.inf, 0.0, 0.0]])
    for targets in (np.array([1]), np.array([[0.0, 1.0, 0.0]])):
        loss, grad_logits = softmax_cross_entropy(logits, targets)
        assert loss == pytest.approx(math.log(2), rel=1e-15)
        np.testing.assert_allclose(grad_logits, [[0, -0.5, 0.5]], rtol=1e-15)


def test_probabilities_need_not_add_up_to_one():
    targets = np.array([[0.5, 0.0, 0.25], [2.0, 1.0, 0.0]])  # the formula is linear in them
    loss, _ = softmax_cross_entropy(LOGITS, targets)
    assert loss == pytest.approx(sum(map(by_hand, LOGITS.tolist(), targets.tolist())) / 2, rel=1e-14)


@pytest.mark.parametrize("kind", ["indices", "probabilities", "unnormalised"])
def test_gradient_by_finite_differences(kind):
    rng = np.random.default_rng(2)
    logits = rng.standard_normal((3, 4))
    targets = rng.integers(4, size=3) if kind == "indices" else rng.dirichlet(np.ones(4), 3)
    if kind == "unnormalised":
        targets = targets * 3
    _, grad_logits = softmax_cross_entropy(logits, targets)
    step = 1e-5
    for n in range(3):
        for k in range(4):
            above, below = logits.copy(), logits.copy()
            above[n, k] += step
            below[n, k] -= step
            loss_above, loss_below = (softmax_cross_entropy(x, targets)[0] for x in (above, below))
            # rounding over the step, 2**-53 * 10 / 1e-5 = 1e-10, and the step squared, 1e-10
            assert (loss_above - loss_below) / (2 * step) == pytest.approx(grad_logits[n, k], abs=1e-9)


def test_an_empty_batch():
    loss, grad_logits = softmax_cross_entropy(np.zeros((0, 3), np.float32), np.zeros(0, int))
    assert loss == 0.0 and grad_logits.shape == (0, 3) and grad_logits.dtype == np.float32


def test_the_mean_of_many_losses_is_taken_in_float64():
    N = 100_000
    logits = np.tile(np.array([[0, 1]], np.float32), (N, 1))
    loss, _ = softmax_cross_entropy(logits, np.zeros(N, int))
    # each loss is rounded once to float32; their mean adds nothing to that
    assert loss == pytest.approx(math.log(1 + math.e), rel=2**-23)


def test_arguments_are_left_alone():
    logits, targets = LOGITS.copy(), one_hot(INDICES, 3)
    for array in (logits, targets):
        array.flags.writeable = False
    softmax_cross_entropy(logits, targets)
    softmax_cross_entropy(logits, INDICES)
    np.testing.assert_array_equal(logits, LOGITS)


BAD = [
    (LOGITS, np.array([0, 3]), ValueError, r"targets must be class indices in 0\.\.2, got 0\.\.3"),
    (LOGITS, np.array([-1, 0]), ValueError, r"targets must be class indices in 0\.\.2, got -1\.\.0"),
    (LOGITS, np.array([0]), ValueError, r"targets must have shape \(2,\) \(one class index .* got \(1,\)"),
    (LOGITS, np.array([[0], [1]]), ValueError, r"targets must have shape \(2,\)"),
    (
        LOGITS,
        np.ones((2, 2)),
        ValueError,
        r"targets must have shape \(2, 3\) \(probabilities, .* got \(2, 2\)",
    ),
    (LOGITS, np.ones((2, 3), np.float32), TypeError, "logits is float64, targets is float32"),
    (LOGITS, np.array([True, False]), TypeError, "targets must be an array of int64, got dtype bool"),
    (LOGITS, [2, 1], TypeError, r"targets must be a NumPy array, got list; write numpy\.asarray\(targets\)"),
    (LOGITS.tolist(), INDICES, TypeError, "logits must be a NumPy array, got list"),
    (LOGITS.astype(int), INDICES, TypeError, r"logits is int64; write logits\.astype\(numpy\.float32\)"),
    (LOGITS[0], INDICES, ValueError, r"logits must have shape \(N, K\) with K > 0, got \(3,\)"),
    (LOGITS[:, :0], INDICES, ValueError, r"logits must have shape \(N, K\) with K > 0, got \(2, 0\)"),
]


@pytest.mark.parametrize(("logits", "targets", "error", "text"), BAD, ids=[case[3] for case in BAD])
def test_bad_arguments(logits, targets, error, text):
    with pytest.raises(error, match=rf"^softmax_cross_entropy: .*{text}"):
        softmax_cross_entropy(logits, targets)
