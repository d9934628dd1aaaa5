"""The shapes that are measured: layers of well-known networks, by name.

``CONV_GROUPS`` and ``POOL_GROUPS`` map a group's name to its shapes. The group ``suite`` is the one that
the project's targets speak of; the other groups show that it was not tuned for alone.
"""

from typing import NamedTuple


def pair(value):
    """``(value, value)`` for an int; a pair as it is."""
    return (value, value) if isinstance(value, int) else tuple(value)


def _output_size(size, kernel, stride, padding, dilation):
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


class ConvShape(NamedTuple):
    """One convolution layer; `kernel`, `stride`, `padding` and `dilation` are an int or a pair (h, w)."""

    name: str
    N: int
    C_in: int
    H: int
    W: int
    C_out: int
    kernel: int | tuple[int, int]
    stride: int | tuple[int, int] = 1
    padding: int | tuple[int, int] = 0
    dilation: int | tuple[int, int] = 1
    groups: int = 1

    @property
    def input_shape(self):
        return (self.N, self.C_in, self.H, self.W)

    @property
    def weight_shape(self):
        return (self.C_out, self.C_in // self.groups, *pair(self.kernel))

    @property
    def output_shape(self):
        return (self.N, self.C_out, *_plane(self))

    def gflop(self):
        """Useful work of the forward pass: 2 * multiply-adds of the direct sum, in 1e9."""
        _, depth, kernel_h, kernel_w = self.weight_shape
        N, C_out, H_out, W_out = self.output_shape
        return 2e-9 * N * C_out * H_out * W_out * depth * kernel_h * kernel_w

    def describe(self):
        """The geometry in one short string, as ``8x3x227x227 -> 96, 11x11 s4``."""
        text = f"{_times(self.input_shape)} -> {self.C_out}, {_geometry(self)}"
        return text + (f" g{self.groups}" if self.groups > 1 else "")


class PoolShape(NamedTuple):
    """One max-pooling layer."""

    name: str
    N: int
    C: int
    H: int
    W: int
    kernel: int | tuple[int, int]
    stride: int | tuple[int, int]
    padding: int | tuple[int, int] = 0
    dilation: int | tuple[int, int] = 1

    @property
    def input_shape(self):
        return (self.N, self.C, self.H, self.W)

    @property
    def output_shape(self):
        return (self.N, self.C, *_plane(self))

    def gbyte(self, itemsize, indices=False):
        """Memory that one pass must move, in 1e9 bytes: input, output, and 8 bytes for an index.

        The backward pass moves the same arrays in the other direction, indices included.
        """
        N, C, H_out, W_out = self.output_shape
        per_output = itemsize + (8 if indices else 0)
        return 1e-9 * N * C * (self.H * self.W * itemsize + H_out * W_out * per_output)

    def describe(self):
        """The geometry in one short string, as ``32x64x112x112, 2x2 s2``."""
        return f"{_times(self.input_shape)}, {_geometry(self)}"


class TrainingShape(NamedTuple):
    """A network of ``cyconv.models`` with its batch and the (C, H, W) of an image."""

    name: str
    N: int
    image: tuple[int, int, int]

    def describe(self):
        """Batch and image in one short string, as ``64x3x32x32``."""
        return _times((self.N, *self.image))


def _plane(shape):
    """Height and width of the output of a `ConvShape` or `PoolShape`."""
    parameters = zip(
        (shape.H, shape.W), pair(shape.kernel), pair(shape.stride), pair(shape.padding), pair(shape.dilation),
        strict=True,
    )
    return tuple(_output_size(*values) for values in parameters)


def _geometry(shape):
    text = _times(pair(shape.kernel))
    for letter, value, usual in (("s", shape.stride, 1), ("p", shape.padding, 0), ("d", shape.dilation, 1)):
        height, width = pair(value)
        if height != width:
            text += f" {letter}{_times((height, width))}"
        elif height != usual:
            text += f" {letter}{height}"
    return text


def _times(sizes):
    return "x".join(map(str, sizes))


SUITE = [
    ConvShape("alexnet.conv1", 8, 3, 227, 227, 96, 11, 4),
    ConvShape("alexnet.conv2", 8, 96, 27, 27, 256, 5, 1, 2),
    ConvShape("alexnet.conv3", 8, 256, 13, 13, 384, 3, 1, 1),
    ConvShape("vgg16.conv1_1", 2, 3, 224, 224, 64, 3, 1, 1),
    ConvShape("vgg16.conv1_2", 2, 64, 224, 224, 64, 3, 1, 1),
    ConvShape("vgg16.conv3_2", 2, 256, 56, 56, 256, 3, 1, 1),
    ConvShape("vgg16.conv5_1", 2, 512, 14, 14, 512, 3, 1, 1),
    ConvShape("resnet50.layer1.conv1", 4, 256, 56, 56, 64, 1),
    ConvShape("resnet50.layer1.conv2", 4, 64, 56, 56, 64, 3, 1, 1),
    ConvShape("resnet50.layer2.0.conv2", 4, 128, 56, 56, 128, 3, 2, 1),
    ConvShape("resnet50.layer3.conv2", 4, 256, 14, 14, 256, 3, 1, 1),
    ConvShape("resnet50.layer4.conv2", 4, 512, 7, 7, 512, 3, 1, 1),
    ConvShape("cifar10_convnet.conv", 64, 3, 32, 32, 12, 3, 1, 1),
    ConvShape("small_vgg.conv1_2", 64, 32, 32, 32, 32, 3, 1, 1),
    ConvShape("small_vgg.conv2_2", 64, 64, 16, 16, 64, 3, 1, 1),
    ConvShape("vgg16.fc6_as_conv_384px", 1, 512, 12, 12, 4096, 7),
]

NETWORKS = [
    ConvShape("lenet.conv1", 64, 1, 28, 28, 6, 5, 1, 2),
    ConvShape("lenet.conv2", 64, 6, 14, 14, 16, 5),
    ConvShape("alexnet.conv5", 8, 384, 13, 13, 256, 3, 1, 1),
    ConvShape("vgg16.conv2_2", 2, 128, 112, 112, 128, 3, 1, 1),
    ConvShape("vgg16.conv4_2", 2, 512, 28, 28, 512, 3, 1, 1),
    ConvShape("resnet50.conv1", 4, 3, 224, 224, 64, 7, 2, 3),
    ConvShape("resnet50.layer1.conv3", 4, 64, 56, 56, 256, 1),
    ConvShape("resnet50.layer2.downsample", 4, 256, 56, 56, 512, 1, 2),
    ConvShape("resnet50.layer4.conv1", 4, 2048, 7, 7, 512, 1),
    ConvShape("resnet18.cifar.layer3", 64, 128, 8, 8, 128, 3, 1, 1),
    ConvShape("inception.stem1", 4, 3, 299, 299, 32, 3, 2),
    ConvShape("inception.conv_1x7", 4, 192, 17, 17, 192, (1, 7), 1, (0, 3)),
    ConvShape("inception.conv_7x1", 4, 192, 17, 17, 192, (7, 1), 1, (3, 0)),
    ConvShape("googlenet.4a.conv5x5", 8, 16, 14, 14, 48, 5, 1, 2),
    ConvShape("deeplab.dilated", 2, 256, 33, 33, 256, 3, 1, 6, 6),
    ConvShape("crnn.conv3", 16, 128, 8, 25, 256, 3, 1, 1),
    ConvShape("unet.conv", 1, 64, 250, 330, 64, 3),
    ConvShape("srcnn.conv3", 1, 32, 256, 256, 3, 5, 1, 2),
]

DEPTHWISE = [
    ConvShape("mobilenet.dw1", 4, 32, 112, 112, 32, 3, 1, 1, 1, 32),
    ConvShape("mobilenet.dw2_s2", 4, 64, 112, 112, 64, 3, 2, 1, 1, 64),
    ConvShape("mobilenet.dw3", 4, 128, 56, 56, 128, 3, 1, 1, 1, 128),
    ConvShape("mobilenet.dw5", 4, 256, 28, 28, 256, 3, 1, 1, 1, 256),
    ConvShape("mobilenet.dw7", 4, 512, 14, 14, 512, 3, 1, 1, 1, 512),
    ConvShape("mobilenet.dw13", 4, 1024, 7, 7, 1024, 3, 1, 1, 1, 1024),
    ConvShape("mobilenet_v3.dw5x5", 4, 120, 28, 28, 120, 5, 1, 2, 1, 120),
    ConvShape("efficientnet.dw5x5_s2", 4, 144, 56, 56, 144, 5, 2, 2, 1, 144),
    ConvShape("convnext.dw7x7", 4, 96, 56, 56, 96, 7, 1, 3, 1, 96),
]

GROUPED = [
    ConvShape("alexnet.conv2_g2", 8, 96, 27, 27, 256, 5, 1, 2, 1, 2),
    ConvShape("resnext50.layer1.conv2", 4, 128, 56, 56, 128, 3, 1, 1, 1, 32),
    ConvShape("resnext50.layer3.conv2", 4, 512, 14, 14, 512, 3, 1, 1, 1, 32),
    ConvShape("shufflenet.conv1x1_g3", 4, 240, 28, 28, 240, 1, 1, 0, 1, 3),
]

SMALL = [
    ConvShape("small.3x3", 1, 16, 8, 8, 16, 3, 1, 1),
    ConvShape("small.1x1", 1, 64, 4, 4, 64, 1),
    ConvShape("small.lenet_conv1", 1, 1, 28, 28, 6, 5, 1, 2),
    ConvShape("small.cifar10_conv", 1, 3, 32, 32, 12, 3, 1, 1),
]

# Measured to find what the others do not show: batch 1, pointwise, thin, long and strided layers.
WIDER = [
    ConvShape("mobilenet.pw1", 4, 32, 112, 112, 64, 1),
    ConvShape("mobilenet.pw3", 4, 128, 56, 56, 128, 1),
    ConvShape("mobilenet.pw5", 4, 256, 28, 28, 256, 1),
    ConvShape("mobilenet.pw7", 4, 512, 14, 14, 512, 1),
    ConvShape("mobilenet.pw13", 4, 1024, 7, 7, 1024, 1),
    ConvShape("mobilenet.b1.pw1", 1, 32, 112, 112, 64, 1),
    ConvShape("mobilenet.b1.pw5", 1, 256, 28, 28, 256, 1),
    ConvShape("mobilenet.b1.pw7", 1, 512, 14, 14, 512, 1),
    ConvShape("mobilenet.b1.pw13", 1, 1024, 7, 7, 1024, 1),
    ConvShape("mobilenet_v2.expand1", 4, 16, 112, 112, 96, 1),
    ConvShape("mobilenet_v2.project1", 4, 96, 56, 56, 24, 1),
    ConvShape("mobilenet_v2.expand2", 4, 24, 56, 56, 144, 1),
    ConvShape("mobilenet_v2.project3", 4, 192, 28, 28, 32, 1),
    ConvShape("mobilenet_v2.expand6", 4, 160, 7, 7, 960, 1),
    ConvShape("mobilenet_v2.last", 4, 320, 7, 7, 1280, 1),
    ConvShape("mobilenet.stem", 4, 3, 224, 224, 32, 3, 2, 1),
    ConvShape("resnet50.b1.conv1", 1, 3, 224, 224, 64, 7, 2, 3),
    ConvShape("resnet50.b1.layer1.conv2", 1, 64, 56, 56, 64, 3, 1, 1),
    ConvShape("resnet50.b1.layer2.conv1", 1, 512, 28, 28, 128, 1),
    ConvShape("resnet50.b1.layer2.conv3", 1, 128, 28, 28, 512, 1),
    ConvShape("resnet50.b1.layer3.conv2", 1, 256, 14, 14, 256, 3, 1, 1),
    ConvShape("resnet50.b1.layer3.conv1", 1, 1024, 14, 14, 256, 1),
    ConvShape("resnet50.b1.layer3.conv3", 1, 256, 14, 14, 1024, 1),
    ConvShape("resnet50.b1.layer3.0.conv2", 1, 256, 28, 28, 256, 3, 2, 1),
    ConvShape("resnet50.b1.layer4.0.conv2", 1, 512, 14, 14, 512, 3, 2, 1),
    ConvShape("resnet50.b1.layer4.conv1", 1, 2048, 7, 7, 512, 1),
    ConvShape("resnet50.b1.layer4.conv2", 1, 512, 7, 7, 512, 3, 1, 1),
    ConvShape("resnet50.b1.layer4.conv3", 1, 512, 7, 7, 2048, 1),
    ConvShape("resnet50.layer3.conv1", 4, 1024, 14, 14, 256, 1),
    ConvShape("resnet50.layer3.conv3", 4, 256, 14, 14, 1024, 1),
    ConvShape("resnet50.layer4.conv3", 4, 512, 7, 7, 2048, 1),
    ConvShape("resnet50.layer2.conv1", 4, 512, 28, 28, 128, 1),
    ConvShape("resnet18.layer2.0.conv1", 4, 64, 56, 56, 128, 3, 2, 1),
    ConvShape("resnet18.layer3.0.conv1", 4, 128, 28, 28, 256, 3, 2, 1),
    ConvShape("resnet18.layer4.0.conv1", 4, 256, 14, 14, 512, 3, 2, 1),
    ConvShape("densenet.conv1x1", 4, 256, 56, 56, 128, 1),
    ConvShape("densenet.conv3x3", 4, 128, 28, 28, 32, 3, 1, 1),
    ConvShape("densenet.conv3x3_14", 4, 128, 14, 14, 32, 3, 1, 1),
    ConvShape("squeezenet.squeeze", 4, 128, 55, 55, 16, 1),
    ConvShape("squeezenet.expand3x3", 4, 16, 55, 55, 64, 3, 1, 1),
    ConvShape("squeezenet.expand3x3_13", 4, 64, 13, 13, 256, 3, 1, 1),
    ConvShape("googlenet.3a.conv5x5", 4, 16, 28, 28, 32, 5, 1, 2),
    ConvShape("googlenet.3a.conv3x3", 4, 96, 28, 28, 128, 3, 1, 1),
    ConvShape("googlenet.4a.reduce5x5", 4, 480, 14, 14, 16, 1),
    ConvShape("inception.conv_1x3", 4, 384, 8, 8, 384, (1, 3), 1, (0, 1)),
    ConvShape("inception.conv_3x1", 4, 384, 8, 8, 384, (3, 1), 1, (1, 0)),
    ConvShape("inception.conv_7x1_128", 4, 128, 17, 17, 128, (7, 1), 1, (3, 0)),
    ConvShape("conv1d.k3", 16, 64, 1, 512, 64, (1, 3), 1, (0, 1)),
    ConvShape("conv1d.k5", 16, 128, 1, 256, 128, (1, 5), 1, (0, 2)),
    ConvShape("conv1d.k9", 8, 64, 1, 1024, 64, (1, 9), 1, (0, 4)),
    ConvShape("conv1d.k80_s4", 8, 1, 1, 16000, 64, (1, 80), (1, 4)),
    ConvShape("yolo.conv3x3", 1, 128, 52, 52, 256, 3, 1, 1),
    ConvShape("yolo.conv3x3_s2", 1, 64, 208, 208, 128, 3, 2, 1),
    ConvShape("yolo.conv1x1", 1, 256, 52, 52, 128, 1),
    ConvShape("yolo.stem", 1, 3, 416, 416, 32, 3, 1, 1),
    ConvShape("pointwise.8x8", 64, 64, 8, 8, 128, 1),
    ConvShape("wide_resnet.conv", 32, 160, 32, 32, 160, 3, 1, 1),
    ConvShape("srcnn.conv1", 1, 1, 256, 256, 64, 9, 1, 4),
    ConvShape("espcn.conv2", 1, 64, 256, 256, 32, 3, 1, 1),
    ConvShape("shufflenet.g3", 4, 240, 28, 28, 60, 1, 1, 0, 1, 3),
    ConvShape("dcgan.conv5x5_s2", 32, 64, 32, 32, 128, 5, 2, 2),
    ConvShape("dcgan.conv4x4_s2", 16, 64, 64, 64, 128, 4, 2, 1),
    ConvShape("vit.patches", 4, 3, 224, 224, 768, 16, 16),
    ConvShape("convnext.stem", 4, 3, 224, 224, 96, 4, 4),
    ConvShape("convnext.pointwise1", 4, 96, 56, 56, 384, 1),
    ConvShape("convnext.pointwise2", 4, 384, 56, 56, 96, 1),
    ConvShape("convnext.downsample", 4, 96, 56, 56, 192, 2, 2),
]

# Layers of later networks, of sound, of games and of large images: the cost model was fitted to them and to the others,
# the kernels to none of them.
LATER = [
    ConvShape("efficientnet.expand6", 4, 192, 7, 7, 1152, 1),
    ConvShape("efficientnet.project4", 4, 480, 14, 14, 80, 1),
    ConvShape("efficientnet.dw5x5_14", 4, 672, 14, 14, 672, 5, 1, 2, 1, 672),
    ConvShape("efficientnet.dw5x5_7", 4, 1152, 7, 7, 1152, 5, 1, 2, 1, 1152),
    ConvShape("efficientnet.dw5x5_s2_14", 4, 672, 14, 14, 672, 5, 2, 2, 1, 672),
    ConvShape("convnext.dw7x7_7", 4, 768, 7, 7, 768, 7, 1, 3, 1, 768),
    ConvShape("convnext.pointwise3", 4, 384, 14, 14, 1536, 1),
    ConvShape("xception.dw", 4, 728, 19, 19, 728, 3, 1, 1, 1, 728),
    ConvShape("shufflenet_v2.conv1x1", 4, 232, 14, 14, 232, 1),
    ConvShape("regnet.g16", 4, 64, 56, 56, 64, 3, 1, 1, 1, 4),
    ConvShape("resnext50.layer4.conv2", 4, 1024, 7, 7, 1024, 3, 1, 1, 1, 32),
    ConvShape("resnext50.layer2.0.conv2", 4, 256, 56, 56, 256, 3, 2, 1, 1, 32),
    ConvShape("yolov8.stem", 1, 3, 640, 640, 16, 3, 2, 1),
    ConvShape("yolov8.conv1", 1, 16, 320, 320, 32, 3, 2, 1),
    ConvShape("yolov8.block", 1, 64, 40, 40, 64, 3, 1, 1),
    ConvShape("yolov8.head", 1, 64, 80, 80, 80, 3, 1, 1),
    ConvShape("deeplab.aspp12", 1, 512, 33, 33, 256, 3, 1, 12, 12),
    ConvShape("deeplab.aspp18", 1, 512, 33, 33, 256, 3, 1, 18, 18),
    ConvShape("drn.dilated2", 1, 256, 28, 28, 512, 3, 1, 2, 2),
    ConvShape("unet.conv_1024", 1, 1024, 16, 16, 1024, 3, 1, 1),
    ConvShape("stable_diffusion.in", 1, 4, 64, 64, 320, 3, 1, 1),
    ConvShape("stable_diffusion.conv_1280", 1, 1280, 8, 8, 1280, 3, 1, 1),
    ConvShape("replknet.dw13x13", 2, 256, 28, 28, 256, 13, 1, 6, 1, 256),
    ConvShape("replknet.dw31x31", 1, 128, 56, 56, 128, 31, 1, 15, 1, 128),
    ConvShape("senet.squeeze", 32, 256, 1, 1, 64, 1),
    ConvShape("lenet.c5", 128, 16, 5, 5, 120, 5),
    ConvShape("gan.conv4x4", 16, 512, 4, 4, 512, 3, 1, 1),
    ConvShape("vae.conv4x4_s2", 16, 64, 16, 16, 128, 4, 2, 1),
    ConvShape("resnet20.cifar.layer1", 128, 16, 32, 32, 16, 3, 1, 1),
    ConvShape("resnet20.cifar.layer2_s2", 128, 16, 32, 32, 32, 3, 2, 1),
    ConvShape("mnist.conv1", 64, 1, 28, 28, 32, 3),
    ConvShape("dqn.conv1", 32, 4, 84, 84, 32, 8, 4),
    ConvShape("alphazero.conv", 8, 256, 19, 19, 256, 3, 1, 1),
    ConvShape("wavenet.dilated4", 4, 64, 1, 4000, 128, (1, 2), 1, 0, (1, 4)),
    ConvShape("wavenet.dilated64", 2, 64, 1, 8000, 128, (1, 2), 1, 0, (1, 64)),
    ConvShape("tcn.k3", 8, 64, 1, 2000, 64, (1, 3), 1, (0, 1)),
    ConvShape("tcn.k7_dilated8", 8, 128, 1, 500, 128, (1, 7), 1, (0, 24), (1, 8)),
    ConvShape("wav2vec.k3_s2", 2, 512, 1, 3199, 512, (1, 3), (1, 2)),
    ConvShape("ecg.k15_s2", 16, 32, 1, 1500, 64, (1, 15), (1, 2), (0, 7)),
    ConvShape("large.stem", 1, 3, 360, 1920, 32, 3, 2, 1),
    ConvShape("large.conv3x3_s2", 1, 32, 180, 1920, 64, 3, 2, 1),
]

BATCHES = [ConvShape(f"batch_{N}", N, 64, 28, 28, 64, 3, 1, 1) for N in (1, 2, 4, 8, 16, 32, 64)]
IMAGES = [ConvShape(f"image_{size}", 4, 64, size, size, 64, 3, 1, 1) for size in (7, 14, 28, 56, 112, 224)]

CONV_GROUPS = {
    "suite": SUITE,
    "networks": NETWORKS,
    "depthwise": DEPTHWISE,
    "grouped": GROUPED,
    "small": SMALL,
    "wider": WIDER,
    "later": LATER,
}

SIZE_GROUPS = {"batch": BATCHES, "image": IMAGES}

POOL_GROUPS = {
    "suite": [
        PoolShape("maxpool.2x2_s2", 32, 64, 112, 112, 2, 2),
        PoolShape("maxpool.3x3_s2", 32, 64, 112, 112, 3, 2),
    ],
    "networks": [
        PoolShape("alexnet.pool1", 8, 96, 55, 55, 3, 2),
        PoolShape("vgg16.pool1", 2, 64, 224, 224, 2, 2),
        PoolShape("vgg16.pool5", 8, 512, 14, 14, 2, 2),
        PoolShape("resnet50.maxpool", 4, 64, 112, 112, 3, 2, 1),
        PoolShape("cifar10_convnet.pool", 64, 12, 32, 32, 2, 2),
        PoolShape("lenet.pool1", 64, 6, 28, 28, 2, 2),
        PoolShape("inception.pool_3x3_s1", 4, 192, 28, 28, 3, 1, 1),
        PoolShape("yolo.spp_5x5_s1", 4, 256, 13, 13, 5, 1, 2),
    ],
}

TRAINING_GROUPS = {
    "training": [
        TrainingShape("cifar10_convnet", 64, (3, 32, 32)),
        TrainingShape("lenet", 64, (1, 28, 28)),
        TrainingShape("small_vgg", 64, (3, 32, 32)),
    ],
}
