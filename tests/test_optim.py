"""SGD, Adam, AdamW: against the recurrences, against torch's numbers, their state, errors."""

import math

import numpy as np
import pytest

import cyconv
from cyconv import SGD, Adam, AdamW

START = [0.5, -1.25, 2.0]
GRADS = [[0.3, -0.2, 1.0], [-0.5, 0.4, 0.25], [0.1, 0.9, -0.75], [2.0, -1.5, 0.05]]


class Model:
    """Anything with `params` and `grads`."""

    def __init__(self, start=START, dtype=np.float64):
        self.params = {"w": np.array(start, dtype)}
        self.grads = {"w": np.zeros(len(start), dtype)}


def run(make, steps=GRADS):
    """The parameter after a step with each of the gradients."""
    model = Model()
    optimizer = make(model)
    for grad in steps:
        model.grads["w"][:] = grad
        optimizer.step()
    return model.params["w"]


# ---------------------------------------------------------------- values


def sgd_by_hand(w, lr, momentum=0.0, nesterov=False, weight_decay=0.0, i=0):
    velocity = 0.0
    for grads in GRADS:
        g = grads[i] + weight_decay * w
        velocity = momentum * velocity + g
        w -= lr * (g + momentum * velocity if nesterov else velocity)
    return w


def adam_by_hand(w, lr=0.001, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, decoupled=False, i=0):
    m = v = 0.0
    for t, grads in enumerate(GRADS, 1):
        g = grads[i]
        if decoupled:
            w *= 1 - lr * weight_decay
        else:
            g += weight_decay * w
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g * g
        w -= lr * (m / (1 - betas[0] ** t)) / (math.sqrt(v / (1 - betas[1] ** t)) + eps)
    return w


SGD_OPTIONS = [
    {},
    {"momentum": 0.9},
    {"momentum": 0.9, "nesterov": True},
    {"weight_decay": 0.05},
    {"momentum": 0.7, "weight_decay": 0.05},
    {"momentum": 0.7, "nesterov": True, "weight_decay": 0.05},
]
ADAM_OPTIONS = [{}, {"weight_decay": 0.05}, {"betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.3}]
# Python and NumPy round the same formula in another order: a few units of 2**-53 in each of four steps.
ROUNDING = {"rtol": 1e-14, "atol": 1e-15}


@pytest.mark.parametrize("options", SGD_OPTIONS, ids=str)
def test_sgd_by_its_recurrence(options):
    expected = [sgd_by_hand(w, 0.1, **options, i=i) for i, w in enumerate(START)]
    np.testing.assert_allclose(run(lambda model: SGD(model, 0.1, **options)), expected, **ROUNDING)


@pytest.mark.parametrize("options", ADAM_OPTIONS, ids=str)
@pytest.mark.parametrize("kind", [Adam, AdamW])
def test_adam_by_its_recurrence(kind, options):
    settings = {"lr": 0.1, "weight_decay": 0.01 if kind is AdamW else 0.0} | options
    expected = [adam_by_hand(w, **settings, decoupled=kind is AdamW, i=i) for i, w in enumerate(START)]
    np.testing.assert_allclose(run(lambda model: kind(model, 0.1, **options)), expected, **ROUNDING)


# torch.optim of torch 2.13, in float64, on START and GRADS with lr=0.1
TORCH = [
    (SGD, {}, [0.31, -1.2100000000000002, 1.945]),
    (SGD, {"momentum": 0.9}, [0.31333000000000005, -1.3106200000000001, 1.7258499999999999]),
    (SGD, {"momentum": 0.9, "nesterov": True}, [0.14199700000000004, -1.264558, 1.698265]),
    (
        SGD,
        {"momentum": 0.9, "weight_decay": 0.05},
        [0.29133143531249994, -1.25418604390625, 1.6406499637499998],
    ),
    (
        SGD,
        {"momentum": 0.9, "nesterov": True, "weight_decay": 0.05},
        [0.11271795044915621, -1.1880735839397027, 1.5885931319913749],
    ),
    (Adam, {}, [0.38786950730342257, -1.239936469638986, 1.788671421452589]),
    (
        Adam,
        {"betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.05},
        [0.3749922754991134, -1.2151007525481958, 1.7779275257651155],
    ),
    (AdamW, {}, [0.3861019616334098, -1.2351006787081709, 1.7811634411725583]),
    (
        AdamW,
        {"betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.3},
        [0.3369091486570355, -1.105485355527102, 1.5918595923199785],
    ),
]


@pytest.mark.parametrize(("kind", "options", "expected"), TORCH)
def test_numbers_of_torch(kind, options, expected):
    np.testing.assert_allclose(run(lambda model: kind(model, 0.1, **options)), expected, **ROUNDING)


def test_adams_first_step_is_the_learning_rate():
    first = run(lambda model: Adam(model, 0.25, eps=0.0), GRADS[:1])
    np.testing.assert_allclose(first, START - 0.25 * np.sign(GRADS[0]), rtol=1e-15)


def test_lr_may_be_set_between_steps():
    model = Model()
    optimizer = SGD(model, 0.1)
    model.grads["w"][:] = 1
    optimizer.step()
    optimizer.lr = 10.0
    optimizer.step()
    np.testing.assert_allclose(model.params["w"], np.array(START) - 10.1, rtol=1e-15)


@pytest.mark.parametrize(
    "make",
    [
        lambda model: SGD(model, 0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
        lambda model: Adam(model, 0.1, weight_decay=0.1),
        lambda model: AdamW(model, 0.1),
    ],
)
def test_parameters_change_in_place_and_gradients_do_not(make):
    model = Model(dtype=np.float32)
    param, grad = model.params["w"], model.grads["w"]
    optimizer = make(model)
    grad[:] = GRADS[0]
    before = grad.copy()
    optimizer.step()
    optimizer.step()
    assert model.params["w"] is param and param.dtype == np.float32
    assert np.all(param != np.array(START, np.float32))
    np.testing.assert_array_equal(grad, before)
    assert {array.dtype for array in optimizer.state_dict().values()} <= {np.dtype("f4"), np.dtype("i8")}


@pytest.mark.parametrize("kind", ["SGD", "Adam"])
def test_they_find_a_minimum(kind):
    target = np.array([3.0, -1.0, 0.5])
    model = Model()
    optimizer = SGD(model, 0.1, momentum=0.5) if kind == "SGD" else Adam(model, 0.1)
    for _ in range(300):
        model.grads["w"][:] = 2 * (model.params["w"] - target)
        optimizer.step()
    # SGD contracts by 0.8 or better a step; Adam, whose step does not shrink by itself, swings longer
    np.testing.assert_allclose(model.params["w"], target, atol=1e-12 if kind == "SGD" else 1e-3)


# ---------------------------------------------------------------- state


def network(seed):
    rng = np.random.default_rng(seed)
    return cyconv.Sequential(
        cyconv.Conv2d(1, 3, 3, rng=rng), cyconv.ReLU(), cyconv.Flatten(), cyconv.Linear(12, 4, rng=rng)
    )


def train(model, optimizer, steps, rng):
    for _ in range(steps):
        images = rng.standard_normal((5, 1, 4, 4), dtype=np.float32)
        _, grad_logits = cyconv.softmax_cross_entropy(model(images), rng.integers(4, size=5))
        model.backward(grad_logits)
        optimizer.step()


@pytest.mark.parametrize(
    "make",
    [
        lambda model: SGD(model, 0.1),
        lambda model: SGD(model, 0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
        lambda model: Adam(model, 0.01),
        lambda model: AdamW(model, 0.01),
    ],
    ids=["SGD", "SGD momentum", "Adam", "AdamW"],
)
@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_a_resumed_run_has_the_same_bits(make, suffix, tmp_path):
    if suffix == ".safetensors":
        pytest.importorskip("safetensors")
    batches = np.random.default_rng(5)
    model = network(1)
    optimizer = make(model)
    train(model, optimizer, 4, batches)
    model.save(tmp_path / f"model{suffix}")
    cyconv.save(optimizer.state_dict(), tmp_path / f"optimizer{suffix}")
    place = batches.bit_generator.state
    train(model, optimizer, 4, batches)

    resumed = network(2)
    resumed.load(tmp_path / f"model{suffix}")
    second = make(resumed)
    second.load_state_dict(cyconv.load(tmp_path / f"optimizer{suffix}"))
    batches.bit_generator.state = place
    train(resumed, second, 4, batches)
    for key, param in model.params.items():
        np.testing.assert_array_equal(resumed.params[key], param)


def test_the_state_is_flat_and_a_copy():
    model = Model()
    sgd, adam = SGD(model, 0.1, momentum=0.9), Adam(model)
    assert list(sgd.state_dict()) == ["velocity.w"]
    assert list(adam.state_dict()) == ["steps", "first.w", "second.w"]
    assert SGD(model, 0.1).state_dict() == {}
    model.grads["w"][:] = 1
    state = adam.state_dict()
    adam.step()
    assert state["steps"] == 0 and not state["first.w"].any()
    assert adam.state_dict()["steps"] == 1


def test_a_wrong_state_lists_every_mismatch_and_loads_nothing():
    adam = Adam(Model())
    before = adam.state_dict()
    state = {"steps": np.array(5.0), "first.w": np.ones(2), "velocity.w": np.ones(3)}
    with pytest.raises(ValueError, match=r"Adam\.load_state_dict: nothing was loaded") as error:
        adam.load_state_dict(state)
    for part in (
        "missing 'second.w'",
        "unexpected 'velocity.w'",
        "'steps' has dtype float64, expected int64",
        "'first.w' has shape (2,), expected (3,)",
    ):
        assert part in str(error.value)
    for key, array in adam.state_dict().items():
        np.testing.assert_array_equal(array, before[key])
    with pytest.raises(ValueError, match=r"missing 'velocity\.w'"):
        SGD(Model(), 0.1, momentum=0.5).load_state_dict({})


BAD = [
    (lambda m: SGD(m, -0.1), ValueError, r"SGD: lr must be finite, at least 0, got -0\.1"),
    (lambda m: SGD(m, np.inf), ValueError, r"SGD: lr must be finite, at least 0, got inf"),
    (lambda m: SGD(m, "0.1"), TypeError, r"SGD: lr must be a number, got str \('0\.1'\)"),
    (lambda m: SGD(m, 0.1, momentum=-1), ValueError, r"SGD: momentum must be finite, at least 0, got -1\.0"),
    (lambda m: SGD(m, 0.1, weight_decay=-1), ValueError, r"SGD: weight_decay must be finite, at least 0"),
    (lambda m: SGD(m, 0.1, nesterov=True), ValueError, r"SGD: nesterov needs momentum above 0"),
    (lambda m: SGD(m, 0.1, momentum=0.9, nesterov=1), TypeError, r"SGD: nesterov must be True or False"),
    (lambda m: Adam(m, None), TypeError, r"Adam: lr must be a number, got NoneType"),
    (lambda m: Adam(m, betas=0.9), TypeError, r"Adam: betas must be a pair, got 0\.9"),
    (lambda m: Adam(m, betas=(0.9, 1.0)), ValueError, r"Adam: betas must be .* below 1, got 1\.0"),
    (lambda m: Adam(m, eps=-1e-8), ValueError, r"Adam: eps must be finite, at least 0"),
    (lambda m: AdamW(m, weight_decay=np.nan), ValueError, r"AdamW: weight_decay must be finite"),
]


@pytest.mark.parametrize(("make", "error", "text"), BAD, ids=[case[2] for case in BAD])
def test_bad_arguments(make, error, text):
    with pytest.raises(error, match=f"^{text}"):
        make(Model())
