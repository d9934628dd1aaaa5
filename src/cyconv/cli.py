"""The command line: ``cyconv train``, ``cyconv summary``, ``cyconv info``."""

import argparse
import inspect
import math
import sys
from collections.abc import Sequence

import cyconv

from . import models
from ._types import Shape
from .train import TrainError, command

SUMMARY_MODELS = {  # name: (C, H, W) unless --input-shape says otherwise
    "cifar10_convnet": (3, 32, 32),
    "lenet": (1, 28, 28),
    "small_vgg": (3, 32, 32),
    "alexnet": (3, 227, 227),
    "vgg16": (3, 224, 224),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv : list of str, optional
        The arguments after the program's name; those of the process by default.

    Returns
    -------
    int
        0; 1 after a diverged loss; 2 after an error that one line on standard error explains;
        130 after Ctrl-C.
    """
    options = make_parser().parse_args(argv)
    try:
        status: int = options.run(options)
        return status
    except KeyboardInterrupt:
        print(f"cyconv {options.command}: stopped", file=sys.stderr)
        return 130
    except (TrainError, OSError) as error:
        print(f"cyconv {options.command}: {error}", file=sys.stderr)
        return 2


def make_parser() -> argparse.ArgumentParser:
    """The arguments of all commands."""
    parser = argparse.ArgumentParser(prog="cyconv", description="Convolution and pooling layers for NumPy.")
    parser.add_argument("--version", action="version", version=f"cyconv {cyconv.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add_train(
        commands.add_parser(
            "train",
            help="train a network and write weights, history and pictures",
            description="Train a network on images. Without --data: scikit-learn's "
            "embedded handwritten digits, in seconds.",
        )
    )
    summary = commands.add_parser("summary", help="print a network's layers, volumes and parameters")
    summary.add_argument("model", choices=SUMMARY_MODELS, metavar="MODEL", help=", ".join(SUMMARY_MODELS))
    summary.add_argument("--input-shape", type=shape, metavar="C,H,W", help="size of one image")
    summary.add_argument("--explain", action="store_true", help="how each layer is computed here, and its time")
    summary.set_defaults(run=run_summary)
    info = commands.add_parser("info", help="print versions, backend, threads and BLAS")
    info.set_defaults(run=run_info)
    return parser


def add_train(parser: argparse.ArgumentParser) -> None:
    """The options of ``cyconv train``; None where the default depends on the data or on the resumed run."""
    parser.set_defaults(run=command.run)
    parser.add_argument(
        "--data",
        metavar="DIR",
        help="directory with MNIST-style IDX files (.gz or not) or CIFAR-10's binary batches",
    )
    parser.add_argument(
        "--output", metavar="DIR", default="cyconv-run", help="where the results go (default: %(default)s)"
    )
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument("--resume", action="store_true", help="continue the run in --output")
    existing.add_argument("--overwrite", action="store_true", help="replace the run in --output")
    parser.add_argument("--model", choices=command.MODELS, help="network (default: small_vgg)")
    parser.add_argument(
        "--epochs",
        type=positive_int,
        metavar="N",
        help=f"passes over the training images ({default_of('epochs')})",
    )
    parser.add_argument(
        "--batch-size", type=positive_int, metavar="N", help=f"images per step ({default_of('batch_size')})"
    )
    parser.add_argument(
        "--lr",
        type=positive_float,
        metavar="RATE",
        help=f"learning rate of the first epoch ({default_of('lr')})",
    )
    parser.add_argument(
        "--seed", type=natural_int, metavar="N", help="the same seed gives the same weights (default: 0)"
    )
    parser.add_argument("--threads", type=positive_int, metavar="N", help="threads of the compiled kernels")
    parser.add_argument("--backend", choices=("auto", "cython", "numpy"), help="kernels to compute with")


def default_of(name: str) -> str:
    """``"digits: 10, idx: 3"`` and so on, for --help."""
    return ", ".join(f"{data}: {default[name]}" for data, default in command.DEFAULTS.items())


def run_summary(options: argparse.Namespace) -> int:
    """``cyconv summary``: a network of `cyconv.models`, built and printed; the exit status."""
    build = getattr(models, options.model)
    input_shape = options.input_shape or SUMMARY_MODELS[options.model]
    sized = "input_shape" in inspect.signature(build).parameters
    try:
        model = build(input_shape=input_shape) if sized else build()
        print(cyconv.summary(model, input_shape))
        if options.explain:
            print(cyconv.explain(model, input_shape))
    except ValueError as error:
        wanted = ",".join(map(str, input_shape))
        raise TrainError(f"{options.model} does not take --input-shape {wanted}: {error}") from None
    return 0


def run_info(options: argparse.Namespace) -> int:
    """``cyconv info``: what `cyconv.show_config` prints; the exit status."""
    from cyconv._config import config_text

    print(config_text())
    return 0


def shape(text: str) -> Shape:
    """``"3,32,32"`` -> (3, 32, 32)."""
    sizes = tuple(positive_int(part) for part in text.split(","))
    if len(sizes) != 3:
        raise argparse.ArgumentTypeError(f"expected C,H,W such as 3,32,32, got {text!r}")
    return sizes


def positive_int(text: str) -> int:
    """A whole number of at least 1."""
    return _at_least(1, text)


def natural_int(text: str) -> int:
    """A whole number of at least 0."""
    return _at_least(0, text)


def positive_float(text: str) -> float:
    """A finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a positive number, got {text!r}")
    return value


def _at_least(lowest: int, text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = lowest - 1
    if value < lowest:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least {lowest}, got {text!r}")
    return value
