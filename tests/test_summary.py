"""summary: the rows as data, the text, receptive fields, strides, remarks."""

import numpy as np
import pytest

import cyconv
from cyconv import models, summary
from cyconv.layers import (
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    ConvTranspose2d,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    Linear,
    MaxPool2d,
    ReLU,
    Sequential,
)

# ---------------------------------------------------------------- rows


def test_rows_of_the_cifar10_convnet():
    result = summary(models.cifar10_convnet(), (3, 32, 32))
    assert result.input_shape == (3, 32, 32)
    assert [row.name for row in result.rows] == ["0", "1", "2", "3", "4"]
    assert [row.layer for row in result.rows] == ["Conv2d", "ReLU", "MaxPool2d", "Flatten", "Linear"]
    assert [row.output_shape for row in result.rows] == [
        (12, 32, 32),
        (12, 32, 32),
        (12, 16, 16),
        (3072,),
        (10,),
    ]
    assert [row.parameters for row in result.rows] == [3 * 3 * 3 * 12 + 12, 0, 0, 0, 3072 * 10 + 10]
    # each filter of 27 numbers at each of 32x32 places; each FC weight once
    assert [row.multiply_adds for row in result.rows] == [27 * 12 * 1024, 0, 0, 0, 30720]
    assert [row.im2col_bytes for row in result.rows] == [27 * 1024 * 4, 0, 0, 0, 0]
    assert [row.receptive_field for row in result.rows] == [(3, 3), (3, 3), (4, 4), (34, 34), (34, 34)]
    assert [row.stride for row in result.rows] == [(1, 1), (1, 1), (2, 2), (2, 2), (2, 2)]
    assert {row.remark for row in result.rows} == {""}
    assert result.parameters == sum(row.parameters for row in result.rows) == 31_066
    assert result.multiply_adds == 27 * 12 * 1024 + 30720


def test_parameters_and_multiply_adds_of_the_formula():
    for F, D1, K, bias in ((3, 3, 12, True), (11, 3, 96, True), (5, 8, 4, False)):
        (row,) = summary(Conv2d(D1, K, F, bias=bias), (D1, 20, 17)).rows
        assert row.parameters == F * F * D1 * K + K * bias
        assert row.multiply_adds == F * F * D1 * K * (20 - F + 1) * (17 - F + 1)
    (row,) = summary(Conv2d(8, 12, (3, 2), groups=4), (8, 9, 7)).rows  # each filter sees a quarter
    assert row.parameters == 3 * 2 * 2 * 12 + 12
    assert row.multiply_adds == 3 * 2 * 2 * 12 * 7 * 6


def test_memory_of_im2col_and_what_is_used():
    for dtype, itemsize in ((np.float32, 4), (np.float64, 8)):
        (row,) = summary(Conv2d(64, 64, 3, padding=1, dtype=dtype), (64, 224, 224)).rows
        assert row.im2col_bytes == 64 * 9 * 224 * 224 * itemsize
        assert 0 < row.workspace_bytes <= 8 * 2**20  # a few MiB, whatever the image
    (small,) = summary(Conv2d(1, 1, 3), (1, 4, 4)).rows
    assert small.im2col_bytes == 9 * 4 * 4
    (transposed,) = summary(ConvTranspose2d(4, 6, 3, stride=2), (4, 5, 6)).rows
    assert transposed.im2col_bytes == 6 * 9 * 5 * 6 * 4  # of the convolution that it is the gradient of
    assert transposed.multiply_adds == 4 * 6 * 9 * 5 * 6
    assert transposed.output_shape == (6, 11, 13) and transposed.workspace_bytes > 0


def test_names_of_nested_layers_are_those_of_the_parameters():
    model = Sequential(Conv2d(1, 2, 3), Sequential(BatchNorm2d(2), Sequential(Conv2d(2, 3, 1))), Dropout())
    result = summary(model, (1, 6, 6))
    assert [row.name for row in result.rows] == ["0", "1.0", "1.1.0", "2"]
    for key in model.params:
        assert key.rpartition(".")[0] in [row.name for row in result.rows]
    assert result.parameters == sum(param.size for param in model.params.values())
    assert result.rows[1].parameters == 4  # running statistics are no parameters


def test_one_layer_is_a_model_too():
    (row,) = summary(Linear(5, 3), (5,)).rows
    assert (row.layer, row.output_shape, row.parameters, row.multiply_adds) == ("Linear", (3,), 18, 15)


# ---------------------------------------------------------------- receptive field and stride


def test_receptive_field_and_stride_of_vgg16(vgg16):
    rows = summary(vgg16, (3, 224, 224)).rows
    assert (rows[30].layer, rows[30].output_shape) == ("MaxPool2d", (512, 7, 7))
    assert rows[30].receptive_field == (212, 212) and rows[30].stride == (32, 32)
    # two and three 3x3 convolutions see what one 5x5 and one 7x7 would
    assert rows[2].receptive_field == (5, 5)
    assert [row.stride[0] for row in rows if row.layer == "MaxPool2d"] == [2, 4, 8, 16, 32]


def test_receptive_field_and_stride_of_alexnet(alexnet):
    rows = summary(alexnet, (3, 227, 227)).rows
    assert (rows[12].layer, rows[12].output_shape) == ("MaxPool2d", (256, 6, 6))
    assert rows[12].receptive_field == (195, 195) and rows[12].stride == (32, 32)
    assert rows[0].receptive_field == (11, 11) and rows[0].stride == (4, 4)
    assert {row.remark for row in rows} == {""}  # every stride tiles 227


def test_the_receptive_field_is_what_the_output_depends_on():
    model = Sequential(
        Conv2d(1, 2, (3, 2), stride=(2, 1), dilation=(1, 3), rng=np.random.default_rng(0)),
        AvgPool2d((2, 3), stride=(1, 2)),
        Conv2d(2, 1, (1, 2), rng=np.random.default_rng(1)),
    )
    shape = (1, 15, 17)
    row = summary(model, shape).rows[-1]
    output = model(np.random.default_rng(2).standard_normal((1, *shape), dtype=np.float32))
    for y, x in ((0, 0), (3, 4)):
        grad_output = np.zeros_like(output)
        grad_output[0, 0, y, x] = 1
        grad_input = model.backward(grad_output, needs_input_grad=True)[0, 0]
        touched_y, touched_x = np.nonzero(grad_input)
        # the first and last row and column with a gradient: where the field lies, and how large it is
        assert (touched_y.min(), touched_x.min()) == (y * row.stride[0], x * row.stride[1])
        size = (np.ptp(touched_y) + 1, np.ptp(touched_x) + 1)
        assert size == row.receptive_field


def test_a_global_average_sees_the_whole_volume():
    rows = summary(Sequential(Conv2d(1, 2, 3, stride=2), GlobalAvgPool2d(), Flatten()), (1, 9, 11)).rows
    assert rows[1].output_shape == (2, 1, 1)
    assert rows[1].receptive_field == rows[2].receptive_field == (9, 11)


# ---------------------------------------------------------------- totals of the notes' networks


def test_totals_of_vgg16_and_of_one_pass_over_a_larger_image(vgg16):
    result = summary(vgg16, (3, 224, 224))
    assert result.parameters == 138_357_544
    assert result.multiply_adds == 15_470_264_320
    converted = cyconv.convert.fully_convolutional(vgg16, (3, 224, 224))
    one_pass = summary(converted, (3, 384, 384))
    assert one_pass.rows[-1].output_shape == (1000, 6, 6)
    assert one_pass.rows[-1].stride == (32, 32)
    # the trunk's work grows with the area, (12/7)^2, and the classifier is applied at 36 places
    classifier = 25088 * 4096 + 4096 * 4096 + 4096 * 1000
    trunk = result.multiply_adds - classifier
    assert one_pass.multiply_adds == trunk * 12**2 // 7**2 + 36 * classifier
    # the evaluations share computation: this much less work than 36 crops
    assert 36 * result.multiply_adds / one_pass.multiply_adds == pytest.approx(11.24, abs=0.005)


def test_totals_of_alexnet(alexnet):
    result = summary(alexnet, (3, 227, 227))
    first = result.rows[0]
    assert first.parameters == 363 * 96 + 96 == 34_944
    assert first.multiply_adds == 96 * 363 * 3025
    assert first.im2col_bytes == 363 * 3025 * 4
    assert result.parameters == 62_378_344


# ---------------------------------------------------------------- remarks


@pytest.mark.parametrize(
    ("layer", "volume", "remark"),
    [
        (
            Conv2d(1, 1, 11, stride=4),
            (1, 224, 224),
            "stride 4 does not tile 224 rows: 1 left out; stride 4 does not tile 224 columns: 1 left out",
        ),
        (Conv2d(1, 1, 11, stride=4), (1, 227, 225), "stride 4 does not tile 225 columns: 2 left out"),
        (Conv2d(1, 1, 3, stride=3, padding=1), (1, 7, 10), ""),  # padding counts: 7 + 2 - 3 = 2 * 3
        (Conv2d(1, 1, 3, stride=2, padding=((1, 0), (0, 0))), (1, 6, 7), ""),
        (MaxPool2d(2), (1, 7, 8), "stride 2 does not tile 7 rows: 1 left out"),
        (
            MaxPool2d(2, ceil_mode=True),
            (1, 7, 8),
            "stride 2 does not tile 7 rows: the last window hangs over by 1",
        ),
        (AvgPool2d(3, stride=2), (1, 9, 8), "stride 2 does not tile 8 columns: 1 left out"),
        (ReLU(), (1, 7, 7), ""),
    ],
)
def test_remarks_where_the_stride_does_not_tile(layer, volume, remark):
    (row,) = summary(layer, volume).rows
    assert row.remark == remark


# ---------------------------------------------------------------- text


def test_text_of_the_cifar10_convnet():
    text = str(summary(models.cifar10_convnet(), (3, 32, 32)))
    lines = text.splitlines()
    assert len({len(line) for line in (lines[1], lines[-2])}) == 1 and set(lines[1]) == {"-"}
    assert lines[0].split() == [
        "layer",
        "output",
        "parameters",
        "mult-adds",
        "im2col",
        "workspace",
        "field",
        "stride",
    ]
    assert lines[2].split() == ["input", "32x32x3"]
    assert lines[3].split()[:6] == ["0", "Conv2d", "32x32x12", "336", "331.78", "k"]
    assert lines[3].split()[6:8] == ["108.0", "KiB"]
    assert lines[5].split() == ["2", "MaxPool2d", "16x16x12", "0", "4x4", "2x2"]
    assert lines[7].split() == ["4", "Linear", "10", "30,730", "30.72", "k", "34x34", "2x2"]
    assert lines[-1].split() == ["total", "31,066", "362.50", "k"]
    assert max(map(len, lines)) < 110


def test_text_of_vgg16(vgg16):
    text = str(summary(vgg16, (3, 224, 224)))
    assert "224x224x64" in text and "7x7x512" in text and "212x212" in text and "32x32" in text
    assert "102,764,544" in text and "110.2 MiB" in text  # fc6; im2col of the second convolution
    assert text.splitlines()[-1].split() == ["total", "138,357,544", "15.47", "G"]


def test_text_carries_the_remarks():
    lines = str(summary(MaxPool2d(2), (1, 7, 8))).splitlines()
    assert lines[3].endswith("stride 2 does not tile 7 rows: 1 left out")


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("model", "shape", "error", "text"),
    [
        (3, (1, 5, 5), TypeError, "summary: expected a layer, got 3"),
        (
            Conv2d(1, 1, 3),
            (1, 1, 5, 5),
            ValueError,
            r"summary: input_shape must be \(C, H, W\), without the batch",
        ),
        (Conv2d(1, 1, 3), [1, 5, 5.0], TypeError, "summary: input_shape must be an int, got float"),
        (Conv2d(1, 1, 3), "1x5x5", TypeError, "summary: input_shape must be a tuple of ints"),
        (Conv2d(1, 1, 3), (1, 2, 5), ValueError, "Conv2d: kernel_size 3x3 .* does not fit input of size 2x5"),
        (Conv2d(1, 1, 3), (2, 5, 5), ValueError, r"Conv2d: Conv2d\(1, 1, .*\) expects 1 channels"),
        (Linear(9, 2), (8,), ValueError, r"Linear: Linear\(9, 2, bias=True\) expects 9"),
    ],
)
def test_bad_arguments(model, shape, error, text):
    with pytest.raises(error, match=f"^{text}"):
        summary(model, shape)
