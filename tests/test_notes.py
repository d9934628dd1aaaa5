"""Every definition, formula and worked example of the course notes, with the notes' numbers.

Where a result must be equal and not close, the numbers are whole and small: no sum of them is rounded.
"""

import numpy as np
import pytest
from layer_cases import NoDraws

import cyconv
from cyconv import functional as F
from cyconv.layers import Conv2d, Linear, MaxPool2d, ReLU


def whole(*shape, low=-2, high=3, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).integers(low, high, shape).astype(dtype)


# ---------------------------------------------------------------- convolutions


def test_dice():
    die = np.zeros(7)
    die[1:] = 1 / 6  # die[x] is the probability of x, and that of 0 is 0: so index = sum of the dice
    total = F.convolve(die, die)
    # the sum over m = 1..3 of f(4 - m) g(m) = f(1)g(3) + f(2)g(2) + f(3)g(1)
    assert total[4] == pytest.approx(3 / 36, rel=1e-15)
    ways = [0, 0, 1, 2, 3, 4, 5, 6, 5, 4, 3, 2, 1]  # for the sums 0..12
    np.testing.assert_allclose(total, np.array(ways) / 36, atol=2**-53)  # six terms of 1/36, a rounding each
    # without the 0, index i is the face i + 1, and the sum s stands at index s - 2
    assert F.convolve(die[1:], die[1:])[4 - 2] == total[4]


def test_dice_that_are_not_alike_show_the_flip():
    f, g = np.array([0, 1, 2, 3, 4, 5, 6.0]), np.array([0, 7, 1, 8, 2, 8, 1.0])
    assert F.convolve(f, g)[4] == f[1] * g[3] + f[2] * g[2] + f[3] * g[1]
    assert F.convolve(f, g)[4] == np.sum(f[1:4] * g[::-1][3:6])  # g flipped and shifted over f: the overlap
    np.testing.assert_array_equal(F.convolve(f, g), F.convolve(g, f))


def test_a_depth_slice_is_a_convolution_with_the_flipped_filter():
    # the sum over the channels of f * flipped filter, at every S-th place, plus the bias
    image, weight, bias = whole(3, 9, 11), whole(4, 3, 3, 3, seed=1), whole(4, seed=2)
    output = F.conv2d(image, weight, bias, stride=2)
    for d in range(4):
        planes = [F.convolve(image[c], weight[d, c, ::-1, ::-1].copy(), "valid") for c in range(3)]
        np.testing.assert_array_equal(output[d], sum(planes)[::2, ::2] + bias[d])


# ---------------------------------------------------------------- architecture overview


def test_cifar10_volumes():
    model = cyconv.models.cifar10_convnet(rng=np.random.default_rng(0))
    assert [type(layer).__name__ for layer in model] == ["Conv2d", "ReLU", "MaxPool2d", "Flatten", "Linear"]
    conv, relu, pool, flatten, fc = model
    volume = np.random.default_rng(1).standard_normal((1, 3, 32, 32), dtype=np.float32)
    after_conv = conv(volume)
    after_relu = relu(after_conv)
    after_pool = pool(after_relu)
    scores = fc(flatten(after_pool))
    assert after_conv.shape == (1, 12, 32, 32)  # [32x32x12]
    assert after_relu.shape == (1, 12, 32, 32)  # unchanged
    assert after_pool.shape == (1, 12, 16, 16)  # [16x16x12]
    assert scores.shape == (1, 10)  # [1x1x10]
    np.testing.assert_array_equal(after_relu, np.where(after_conv > 0, after_conv, 0))
    np.testing.assert_array_equal(model(volume), scores)


# ---------------------------------------------------------------- the convolutional layer


def test_output_volume_formula():
    tried = 0
    for W1 in (5, 7, 16, 32, 227):
        for F_ in (1, 2, 3, 5, 11):
            for S in (1, 2, 3, 4):
                for P in (0, 1, 2):
                    room = W1 - F_ + 2 * P
                    if room < 0 or room % S:
                        continue  # the notes' formula is for windows that tile
                    tried += 1
                    assert F.output_size(W1, F_, stride=S, padding=P) == room / S + 1
                    conv = Conv2d(2, 3, F_, stride=S, padding=P)
                    assert conv.output_shape((2, W1, W1)) == (3, room // S + 1, room // S + 1)  # D2 = K
                    if W1 <= 16:
                        assert conv(np.zeros((2, W1, W1), np.float32)).shape == conv.output_shape((2, W1, W1))
    assert tried > 100


@pytest.mark.parametrize(("D1", "K", "F_"), [(3, 12, 3), (3, 96, 11), (3, 2, 3), (512, 512, 3), (64, 32, 1)])
def test_parameter_count(D1, K, F_):
    params = Conv2d(D1, K, F_, rng=NoDraws()).params
    assert params["weight"].size == (F_ * F_ * D1) * K
    assert params["bias"].size == K


def test_the_demo_one_activation_at_a_time():
    W1 = H1 = 5
    D1, K, F_, S, P = 3, 2, 3, 2, 1
    volume, weight, bias = whole(D1, H1, W1, low=0), whole(K, D1, F_, F_, seed=1), np.array([1.0, 0.0])
    conv = Conv2d.from_weight(weight, bias, stride=S, padding=P)
    output = conv(volume)
    assert output.shape == (2, 3, 3)  # 3x3x2: (5 - 3 + 2)/2 + 1 = 3
    padded = np.zeros((D1, H1 + 2 * P, W1 + 2 * P))
    padded[:, P:-P, P:-P] = volume
    seen = set()
    for d in range(K):
        for y in range(3):
            for x in range(3):
                field = padded[:, S * y : S * y + F_, S * x : S * x + F_]
                assert output[d, y, x] == np.sum(field * weight[d]) + bias[d]
                seen.add(output[d, y, x])
    assert len(seen) > 9  # not one number everywhere


def test_zero_padding_is_a_border_of_zeros():
    image, weight = whole(3, 6, 7), whole(2, 3, 3, 3, seed=1)
    bordered = np.pad(image, ((0, 0), (2, 2), (2, 2)))
    np.testing.assert_array_equal(F.conv2d(image, weight, padding=2), F.conv2d(bordered, weight))


def test_stride_jumps_pixels():
    image, weight = whole(3, 9, 11), whole(2, 3, 3, 3, seed=1)
    everywhere = F.conv2d(image, weight)
    for S in (2, 3):
        np.testing.assert_array_equal(F.conv2d(image, weight, stride=S), everywhere[:, ::S, ::S])


def test_the_common_setting_keeps_the_size_and_valid_convolutions_shrink():
    volume, size = np.zeros((4, 32, 32), np.float32), 32
    keep, shrink = Conv2d(4, 4, 3, stride=1, padding=1), Conv2d(4, 4, 3)
    for _ in range(5):
        assert keep(np.zeros((4, size, size), np.float32)).shape == (4, size, size)
        volume, size = shrink(volume), size - 2
        assert volume.shape == (4, size, size)
    for F_ in (1, 5, 7):
        assert F.output_size(32, F_, padding=(F_ - 1) // 2) == 32


# ---------------------------------------------------------------- matrix multiplication


def test_alexnets_first_layer_as_one_matrix_product():
    image = whole(3, 227, 227, dtype=np.float32)
    weight = whole(96, 3, 11, 11, dtype=np.float32, seed=1)
    X_col = F.im2col(image, 11, stride=4)
    assert ((227 - 11) / 4 + 1) ** 2 == 3025 and 11 * 11 * 3 == 363
    assert X_col.shape == (363, 3025)
    for y, x in ((0, 0), (0, 54), (54, 0), (17, 40)):  # a column is a block, stretched out
        block = image[:, 4 * y : 4 * y + 11, 4 * x : 4 * x + 11]
        np.testing.assert_array_equal(X_col[:, 55 * y + x], block.reshape(363))
    W_row = weight.reshape(96, 363)
    product = np.dot(W_row, X_col)
    assert product.shape == (96, 3025)
    # 363 products of at most 4: whole numbers below 2**24, exact in float32 in any order
    output = F.conv2d(image, weight, stride=4, algorithm="im2col")
    assert output.shape == (96, 55, 55)
    np.testing.assert_array_equal(output, product.reshape(96, 55, 55))
    # Winograd's filtering, which "auto" may choose, rounds: by 7e-6 of the rms here, as test_accuracy bounds it
    rms = np.sqrt(np.mean(output.astype(np.float64) ** 2))
    np.testing.assert_allclose(F.conv2d(image, weight, stride=4), output, rtol=0, atol=1.5e-5 * rms)
    # "it can use a lot of memory": the values are replicated
    assert X_col.size / image.size == pytest.approx(7.1, abs=0.01)
    (row,) = cyconv.summary(Conv2d(3, 96, 11, stride=4), (3, 227, 227)).rows
    assert row.im2col_bytes == X_col.nbytes
    assert row.output_shape == (96, 55, 55) and row.remark == ""


def test_the_same_in_float32_with_any_numbers():
    rng = np.random.default_rng(0)
    image = rng.standard_normal((3, 227, 227), dtype=np.float32)
    weight = rng.standard_normal((96, 3, 11, 11), dtype=np.float32)
    product = np.dot(weight.reshape(96, 363), F.im2col(image, 11, stride=4)).reshape(96, 55, 55)
    # both are sums of 363 products of about 1; each is within 363 * 2**-24 of the sum of their sizes, about 230
    np.testing.assert_allclose(F.conv2d(image, weight, stride=4), product, rtol=0, atol=363 * 2**-24 * 230)


def test_1x1_convolution_is_a_matrix_product_per_pixel():
    image, weight, bias = whole(2, 5, 4, 6), whole(3, 5, 1, 1, seed=1), whole(3, seed=2)
    output = F.conv2d(image, weight, bias)
    assert output.shape == (2, 3, 4, 6)
    for n in range(2):
        for y in range(4):
            for x in range(6):
                np.testing.assert_array_equal(
                    output[n, :, y, x], weight[:, :, 0, 0] @ image[n, :, y, x] + bias
                )


# ---------------------------------------------------------------- the pooling layer


def test_pooling_2_2_discards_75_percent():
    volume = np.random.default_rng(0).standard_normal((64, 224, 224), dtype=np.float32)
    pool = MaxPool2d(2)  # F = 2, S = 2
    output = pool(volume)
    assert output.shape == (64, 112, 112)  # the depth remains
    assert output.size == 0.25 * volume.size
    four = np.stack([volume[:, i::2, j::2] for i in (0, 1) for j in (0, 1)])
    np.testing.assert_array_equal(output, four.max(axis=0))  # a max over 4 numbers
    assert dict(pool.params) == {}  # zero parameters


def test_the_figure_of_max_pooling():
    plane = np.array([[[1, 1, 2, 4], [5, 6, 7, 8], [3, 2, 1, 0], [1, 2, 3, 4.0]]])
    np.testing.assert_array_equal(F.max_pool2d(plane, 2), [[[6, 8], [3, 4]]])


def test_overlapping_pooling_3_2():
    volume = np.random.default_rng(0).standard_normal((96, 55, 55), dtype=np.float32)
    output = MaxPool2d(3, stride=2)(volume)
    assert output.shape == (96, 27, 27)  # (55 - 3)/2 + 1
    for y, x in ((0, 0), (26, 26), (4, 19)):
        field = volume[:, 2 * y : 2 * y + 3, 2 * x : 2 * x + 3]
        np.testing.assert_array_equal(output[:, y, x], field.max(axis=(1, 2)))


def test_pooling_volume_formula():
    for W1 in (4, 6, 9, 55, 224):
        for F_, S in ((2, 2), (3, 2), (3, 3)):
            if W1 >= F_ and (W1 - F_) % S == 0:
                assert MaxPool2d(F_, stride=S).output_shape((7, W1, W1)) == (7, *2 * [(W1 - F_) / S + 1])


# ---------------------------------------------------------------- the fully connected layer


def test_fc_is_a_matrix_product_and_a_bias():
    layer = Linear(6, 4, dtype=np.float64)
    layer.params["weight"][...], layer.params["bias"][...] = whole(4, 6), whole(4, seed=1)
    input = whole(3, 6, seed=2)
    for n in range(3):
        expected = layer.params["weight"] @ input[n] + layer.params["bias"]
        np.testing.assert_array_equal(layer(input)[n], expected)


def test_fc_as_conv_with_4096_neurons_on_7x7x512():
    fc = Linear(7 * 7 * 512, 4096, rng=NoDraws())
    some = slice(None, None, 64)  # 64 of the neurons get weights, which is enough to tell and fast
    fc.params["weight"][some] = whole(64, 25088, low=-1, high=2)
    fc.params["bias"][...] = np.arange(4096)
    conv = fc.to_conv2d((512, 7, 7))
    assert conv.kernel_size == (7, 7) and conv.stride == (1, 1) and conv.padding == 0  # F = 7, P = 0, S = 1
    assert conv.out_channels == 4096 and conv.in_channels == 512
    volume = whole(512, 7, 7, low=-1, high=2, dtype=np.float32, seed=1)
    output = conv(volume)
    assert output.shape == (4096, 1, 1)  # a single depth column fits
    # sums of 25,088 numbers from -1 to 1: exact
    np.testing.assert_array_equal(output.ravel(), fc(volume.ravel()))
    assert np.count_nonzero(output[some, 0, 0] != np.arange(4096)[some]) > 50


def test_sizes_of_the_fc_conv_example():
    assert 224 / 2 / 2 / 2 / 2 / 2 == 7 and 384 / 32 == 12
    size = 384
    for _ in range(5):
        size = F.output_size(size, 2, stride=2)
    assert size == 12
    assert F.output_size(12, 7) == 6  # (12 - 7)/1 + 1
    crops = [(y, x) for y in range(0, 384 - 224 + 1, 32) for x in range(0, 384 - 224 + 1, 32)]
    assert len(crops) == 36


def test_relu_is_max_0_x():
    input = np.array([-1.5, 0.0, 2.5])
    np.testing.assert_array_equal(ReLU()(input), np.maximum(0, input))
