"""state_dict, save and load: round trips, PyTorch's names and checkpoints, mismatches."""

import numpy as np
import pytest

import cyconv
from cyconv.layers import (
    BatchNorm2d,
    Conv2d,
    ConvTranspose2d,
    Dropout,
    Flatten,
    Linear,
    MaxPool2d,
    ReLU,
    Sequential,
)

SUFFIXES = [".npz", ".safetensors"]


@pytest.fixture(params=SUFFIXES)
def suffix(request):
    if request.param == ".safetensors":
        pytest.importorskip("safetensors")
    return request.param


def network(seed, dtype=np.float32):
    """What has parameters and buffers, nested; for volumes of (2, 8, 6)."""
    a = {"dtype": dtype, "rng": np.random.default_rng(seed)}
    return Sequential(
        Conv2d(2, 4, (3, 2), padding=1, groups=2, **a),
        BatchNorm2d(4, dtype=dtype),
        ReLU(),
        Sequential(ConvTranspose2d(4, 3, 2, stride=2, bias=False, **a), ReLU()),
        MaxPool2d(2),
        Dropout(0.5),
        Flatten(),
        Linear(3 * 8 * 7, 5, **a),
    )


# The names and shapes of torch.nn.Sequential of the same layers, in its order.
TORCH_KEYS = {
    "0.weight": (4, 1, 3, 2),
    "0.bias": (4,),
    "1.weight": (4,),
    "1.bias": (4,),
    "1.running_mean": (4,),
    "1.running_var": (4,),
    "1.num_batches_tracked": (),
    "3.0.weight": (4, 3, 2, 2),
    "7.weight": (5, 168),
    "7.bias": (5,),
}


def checkpoint_of_torch():
    """The arrays that torch.nn.Sequential.state_dict() holds, as .numpy() gives them."""
    rng = np.random.default_rng(8)
    state = {key: rng.uniform(0.5, 1.5, shape).astype(np.float32) for key, shape in TORCH_KEYS.items()}
    state["1.num_batches_tracked"] = np.array(17, np.int64)
    return state


def assert_equal_states(state, expected):
    assert list(state) == list(expected)
    for key, array in expected.items():
        assert state[key].dtype == array.dtype and state[key].shape == array.shape
        np.testing.assert_array_equal(state[key], array)


# ---------------------------------------------------------------- state_dict


def test_keys_of_pytorch_and_copies():
    model = network(0)
    state = model.state_dict()
    assert {key: array.shape for key, array in state.items()} == TORCH_KEYS
    assert list(state) == list(TORCH_KEYS)
    state["0.weight"][...] = 0
    assert model.params["0.weight"].any()


def test_a_checkpoint_of_torch_loads_unchanged(suffix, tmp_path):
    state = checkpoint_of_torch()
    model = network(0)
    model.load_state_dict(state)
    assert_equal_states(model.state_dict(), state)
    cyconv.save(state, tmp_path / f"torch{suffix}")
    second = network(1).eval()
    second.load(tmp_path / f"torch{suffix}")
    images = np.ones((2, 2, 8, 6), np.float32)
    np.testing.assert_array_equal(second(images), model.eval()(images))


def test_a_module_of_torch_gives_the_same_scores(tmp_path):
    torch = pytest.importorskip("torch")
    safetensors_torch = pytest.importorskip("safetensors.torch")
    nn = torch.nn
    torch.manual_seed(3)
    module = nn.Sequential(
        nn.Conv2d(2, 4, (3, 2), padding=1, groups=2),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Sequential(nn.ConvTranspose2d(4, 3, 2, stride=2, bias=False), nn.ReLU()),
        nn.MaxPool2d(2),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(3 * 8 * 7, 5),
    )
    images = torch.randn(4, 2, 8, 6)
    with torch.no_grad():
        module(images)  # the running statistics move
        expected = module.eval()(images).numpy()
    assert {key: tuple(value.shape) for key, value in module.state_dict().items()} == TORCH_KEYS

    by_arrays, by_file = network(0).eval(), network(1).eval()
    by_arrays.load_state_dict({key: value.numpy() for key, value in module.state_dict().items()})
    safetensors_torch.save_file(module.state_dict(), tmp_path / "module.safetensors")
    by_file.load(tmp_path / "module.safetensors")
    # float32 sums of at most 168 terms of about 1, in another order
    np.testing.assert_allclose(by_arrays(images.numpy()), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(by_file(images.numpy()), by_arrays(images.numpy()))

    # and back
    by_arrays.save(tmp_path / "back.safetensors")
    module.load_state_dict(safetensors_torch.load_file(tmp_path / "back.safetensors"))


def test_loading_fills_the_arrays_in_place_and_converts():
    model = network(0, np.float64)
    params = dict(model.params)
    model.load_state_dict(checkpoint_of_torch())  # float32 into float64
    for key, param in model.params.items():
        assert param is params[key] and param.dtype == np.float64
    np.testing.assert_array_equal(model.params["7.bias"], checkpoint_of_torch()["7.bias"])


def test_a_mismatch_lists_everything_and_loads_nothing():
    model = network(0)
    before = model.state_dict()
    state = checkpoint_of_torch()
    del state["0.bias"], state["1.running_var"]
    state["9.weight"] = np.zeros(3, np.float32)
    state["0.weight"] = np.zeros((4, 2, 3, 2), np.float32)
    state["7.weight"] = state["7.weight"].T
    state["7.bias"] = state["7.bias"].astype(complex)
    state["1.weight"] = [1.0, 1.0, 1.0, 1.0]
    with pytest.raises(ValueError, match=r"^Sequential\.load_state_dict: nothing was loaded: ") as error:
        model.load_state_dict(state)
    for part in (
        "missing '0.bias'",
        "missing '1.running_var'",
        "unexpected '9.weight'",
        "'0.weight' has shape (4, 2, 3, 2), expected (4, 1, 3, 2)",
        "'7.weight' has shape (168, 5), expected (5, 168)",
        "'7.bias' has dtype complex128, expected float32",
        "'1.weight' is no NumPy array but list",
    ):
        assert part in str(error.value)
    assert str(error.value).count(";") == 6  # seven mismatches, and no more
    assert_equal_states(model.state_dict(), before)


def test_a_state_must_be_a_dict():
    with pytest.raises(
        TypeError, match=r"^Linear\.load_state_dict: state must be a dict of arrays, got list"
    ):
        Linear(2, 2).load_state_dict([])


def test_load_names_every_mismatch_of_a_file(suffix, tmp_path):
    model = network(0)
    before = model.state_dict()
    Linear(2, 2).save(tmp_path / f"linear{suffix}")
    with pytest.raises(ValueError, match=r"missing '0\.weight'; missing '0\.bias'; ") as error:
        model.load(tmp_path / f"linear{suffix}")
    # safetensors gives the names of a file in any order
    assert "unexpected 'weight'" in str(error.value) and "unexpected 'bias'" in str(error.value)
    assert_equal_states(model.state_dict(), before)


# ---------------------------------------------------------------- files


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_model_makes_the_round_trip(suffix, dtype, tmp_path):
    model, images = network(0, dtype), np.random.default_rng(1).standard_normal((3, 2, 8, 6)).astype(dtype)
    model(images)
    path = tmp_path / f"weights{suffix}"
    model.save(path)
    other = network(1, dtype)
    other.load(str(path))
    assert_equal_states(other.state_dict(), model.state_dict())
    np.testing.assert_array_equal(other.eval()(images), model.eval()(images))


def test_arrays_of_any_shape_and_order(suffix, tmp_path):
    state = {
        "scalar": np.array(2.5),
        "empty": np.zeros((0, 3), np.float32),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "strided": np.arange(10, dtype=np.int16)[::3],
        "bool": np.array([True, False]),
        "half": np.array([1.5], np.float16),
        "name with spaces/and.npy": np.array([1], np.uint8),
    }
    if suffix == ".npz":
        state["text"] = np.array(["a", "bc"])
        state["complex"] = np.array([1j])
    cyconv.save(state, tmp_path / f"s{suffix}")
    loaded = cyconv.load(tmp_path / f"s{suffix}")
    assert set(loaded) == set(state)  # safetensors sorts them
    assert_equal_states({key: loaded[key] for key in state}, state)
    cyconv.save({}, tmp_path / f"s{suffix}")
    assert cyconv.load(tmp_path / f"s{suffix}") == {}


def test_big_endian_arrays_keep_their_values(suffix, tmp_path):
    state = {"a": np.arange(5, dtype=">f4")}
    cyconv.save(state, tmp_path / f"s{suffix}")
    np.testing.assert_array_equal(cyconv.load(tmp_path / f"s{suffix}")["a"], np.arange(5))


def test_npz_is_numpys(tmp_path):
    state = checkpoint_of_torch()
    cyconv.save(state, tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        assert_equal_states(dict(file), state)
    np.savez_compressed(tmp_path / "b.npz", **state)
    assert_equal_states(cyconv.load(tmp_path / "b.npz"), state)


def test_safetensors_is_safetensors(tmp_path):
    safetensors_numpy = pytest.importorskip("safetensors.numpy")
    state = checkpoint_of_torch()
    cyconv.save(state, tmp_path / "a.safetensors")
    loaded = safetensors_numpy.load_file(tmp_path / "a.safetensors")
    assert_equal_states({key: loaded[key] for key in state}, state)
