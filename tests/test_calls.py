"""What a call remembers of those before it: nothing that lets a wrong argument through, or changes a result."""

import threading

import numpy as np
import pytest

from cyconv import functional as F

X, W, G = np.ones((2, 4, 5, 6)), np.ones((6, 4, 1, 1)), np.ones((2, 6, 5, 6))
U = np.ones((4, 3, 1, 1))

CALLS = {
    "conv2d": lambda **k: F.conv2d(X, W, **k),
    "conv2d_backward": lambda **k: F.conv2d_backward(G, X, W, **k),
    "conv_transpose2d": lambda **k: F.conv_transpose2d(X, U, **k),
    "max_pool2d": lambda **k: F.max_pool2d(X, 1, **{"stride": 1, **k}),
    "avg_pool2d": lambda **k: F.avg_pool2d(X, 1, **{"stride": 1, **k}),
}
EQUAL = {  # to 1 or (1, 1), but none of them an int
    "bool": True,
    "float": 1.0,
    "NumPy bool": np.True_,
    "NumPy float": np.float64(1),
    "bool in a pair": (1, True),
    "float in a pair": (1.0, 1),
    "float in a list": [1, 1.0],
}


@pytest.mark.parametrize("value", EQUAL.values(), ids=EQUAL)
@pytest.mark.parametrize("name", CALLS)
def test_what_equals_a_good_argument_is_still_refused(name, value):
    call = CALLS[name]
    arguments = ("stride", "dilation") if name != "avg_pool2d" else ("stride",)
    for argument in (*arguments, *(("groups",) if name.startswith("conv") else ())):
        for good in (1, np.int64(1)) if argument == "groups" else (1, (1, 1), [1, 1]):
            call(**{argument: good})
            with pytest.raises(TypeError, match=f"{name}: {argument} must be an int"):
                call(**{argument: value})
    call(padding=0)
    with pytest.raises(TypeError, match=f"{name}: padding must be an int"):
        call(padding=False)
    call(padding=((0, 0), (0, 0)))
    with pytest.raises(TypeError, match=f"{name}: padding must be an int"):
        call(padding=((0, 0), (0, False)))


@pytest.mark.parametrize("name", CALLS)
def test_forms_of_one_argument_give_one_result(name):
    argument = "dilation" if name == "conv2d_backward" else "stride"  # grad_output has one shape
    expected = CALLS[name](**{argument: 2})
    for value in ((2, 2), [2, 2], np.int64(2), (np.int32(2), 2)):
        for got, wanted in zip(CALLS[name](**{argument: value}), expected, strict=True):
            np.testing.assert_array_equal(got, wanted)


def test_other_shapes_and_a_list_that_changes():
    assert F.conv2d(X, W[:, :2], groups=2).shape == F.conv2d(X, W, padding="valid").shape
    padding = [0, 0]
    assert F.conv2d(X, W, padding=padding).shape == (2, 6, 5, 6)
    padding[0] = 1
    assert F.conv2d(X, W, padding=padding).shape == (2, 6, 7, 6)
    assert F.conv2d(X[0], W, padding=padding).shape == (6, 7, 6)
    assert F.conv2d(X[:1], W, padding=padding).shape == (1, 6, 7, 6)
    with pytest.raises(TypeError, match="conv2d: algorithm must be one of"):
        F.conv2d(X, W, algorithm=["auto"])
    with pytest.raises(ValueError, match="conv2d: algorithm 'winograd' needs a kernel of 2 to 5 times the stride"):
        F.conv2d(X, W, algorithm="winograd")
    with pytest.raises(ValueError, match=r"conv2d: bias must have shape \(6,\)"):
        F.conv2d(X, W, X[0, 0, 0, :5])
    F.conv2d(X, W, X[0, 0, 0])


def test_many_shapes_at_once():
    """More geometries than are remembered, from several threads."""

    def work(start):
        for i in range(start, start + 700):
            shape = F.conv2d(np.ones((1, 1, 1 + i % 40, 1 + i // 40)), np.ones((1, 1, 1, 1)), padding=i % 3).shape
            good.append(shape == (1, 1, 1 + i % 40 + 2 * (i % 3), 1 + i // 40 + 2 * (i % 3)))

    good = []
    threads = [threading.Thread(target=work, args=(500 * i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(good) == 2800 and all(good)
