"""``cyconv train``: options -> checks -> run -> pictures; nothing is written before all checks passed."""

import argparse
import os
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import cyconv
from cyconv import models
from cyconv._types import Arrays

from . import Diverged, TrainError, checkpoint, data, loop, pictures, progress, require

MODELS = ("small_vgg", "lenet", "cifar10_convnet")
FILES = (checkpoint.CHECKPOINT, loop.WEIGHTS, loop.HISTORY, *pictures.NAMES)

DEFAULTS: dict[str, dict[str, Any]] = {  # by the name of the data set
    "digits": {"epochs": 10, "batch_size": 32, "lr": 2e-3},
    "idx": {"epochs": 3, "batch_size": 64, "lr": 1e-3},
    "fashion-mnist": {"epochs": 3, "batch_size": 64, "lr": 1e-3},
    "cifar10": {"epochs": 12, "batch_size": 64, "lr": 1e-3},
}


def run(options: argparse.Namespace) -> int:
    """Do what the parsed options of ``cyconv train`` ask for.

    Parameters
    ----------
    options : argparse.Namespace
        data, output, resume, overwrite, model, epochs, batch_size, lr, seed, threads, backend;
        None where the user said nothing.

    Returns
    -------
    int
        Exit status: 0, 1 after a diverged loss, 130 after Ctrl-C.

    Raises
    ------
    TrainError
        Anything the user can put right, before a file is written.
    """
    require("matplotlib", *(["rich"] if sys.stdout.isatty() else []))
    output = Path(options.output)
    state, about = checkpoint.read(output) if options.resume else (None, None)
    if not options.resume:
        check_output(output, options.overwrite)
    choose_backend(options, about)
    dataset, settings = choose_settings(options, about)
    training = new_run(settings, dataset)
    if state is not None and about is not None:
        continue_run(training, state, about, output)
    print(describe(training, dataset), flush=True)
    prepare_output(output, options.resume)
    return carry_out(training, dataset, output)


def check_output(output: Path, overwrite: bool) -> None:
    """Refuse a directory that already holds a run, unless it may be overwritten."""
    if output.exists() and not output.is_dir():
        raise TrainError(f"{output}: expected a directory for --output, got a file")
    there = [name for name in FILES if (output / name).exists()]
    if there and not overwrite:
        raise TrainError(
            f"{output}: already holds a run ({there[0]}); add --resume to continue it, "
            f"--overwrite to replace it, or choose another --output"
        )


def prepare_output(output: Path, resume: bool) -> None:
    """Make the directory; when a new run begins, remove what an older one left there."""
    output.mkdir(parents=True, exist_ok=True)
    for name in () if resume else FILES:
        (output / name).unlink(missing_ok=True)


def choose_backend(options: argparse.Namespace, about: dict[str, Any] | None) -> None:
    """Threads and kernels as asked for; a resumed run keeps its backend."""
    name = options.backend or (about["settings"].backend if about else None)
    if name and name != cyconv.backend:
        try:
            cyconv._backend.use(name)
        except ImportError as error:
            raise TrainError(f"--backend {name}: {error}") from None
    try:
        if options.threads:
            cyconv.set_num_threads(options.threads)
    except ValueError as error:
        raise TrainError(f"--threads {options.threads}: {error}") from None


def choose_settings(
    options: argparse.Namespace, about: dict[str, Any] | None
) -> tuple[data.Dataset, checkpoint.Settings]:
    """-> the data set, and the Settings from the options, the checkpoint and the defaults."""
    old = about["settings"] if about else None
    seed = options.seed if options.seed is not None else old.seed if old else 0
    directory = options.data if options.data is not None else old.data if old else None
    dataset = data.load(directory, seed)
    default = DEFAULTS[dataset.name] | {"model": MODELS[0]} if not old else vars(old)

    def choose(name: str) -> Any:
        given = getattr(options, name)
        return default[name] if given is None else given

    settings = checkpoint.Settings(
        data=str(Path(directory).absolute()) if directory is not None else None,
        data_name=dataset.name,
        data_checksum=dataset.checksum,
        model=choose("model"),
        epochs=choose("epochs"),
        batch_size=choose("batch_size"),
        lr=choose("lr"),
        seed=seed,
        backend=cyconv.backend,
    )
    if settings.model not in MODELS:
        raise TrainError(f"--resume: the checkpoint's model {settings.model!r} is none of {', '.join(MODELS)}")
    if old:
        compare_settings(old, settings)
    return dataset, settings


def compare_settings(old: checkpoint.Settings, new: checkpoint.Settings) -> None:
    """A resumed run continues exactly, so only the place of the data and the number of epochs may change."""
    for name in ("model", "batch_size", "lr", "seed", "backend"):
        was, now = getattr(old, name), getattr(new, name)
        if was != now:
            option = f"--{name.replace('_', '-')}"
            raise TrainError(
                f"--resume: the run was begun with {option} {was}, got {option} {now}; "
                f"leave the option out, or begin another run with another --output"
            )
    if old.data_checksum != new.data_checksum:
        was, now = (f"{each.data_name} from {each.data or 'scikit-learn'}" for each in (old, new))
        raise TrainError(f"--resume: the run was begun with other data ({was}), got {now}")


def new_run(settings: checkpoint.Settings, dataset: data.Dataset) -> checkpoint.Run:
    """The model with its first weights, its optimizer and the one random generator of the run."""
    rng = np.random.default_rng([settings.seed, 1])  # not the generator that split the digits
    build = getattr(models, settings.model)
    try:
        model = build(input_shape=dataset.input_shape, num_classes=len(dataset.class_names), rng=rng)
    except ValueError as error:
        shape = "x".join(map(str, dataset.input_shape))
        raise TrainError(f"--model {settings.model}: does not fit images of {shape}: {error}") from None
    return checkpoint.Run(settings, model, cyconv.Adam(model, settings.lr), rng)


def continue_run(training: checkpoint.Run, state: Arrays, about: dict[str, Any], output: Path) -> None:
    """Put a new run where the checkpoint left off."""
    try:
        training.restore(state, about)
    except (KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise TrainError(f"{output / checkpoint.CHECKPOINT}: does not fit the model: {reason}") from None
    if training.settings.epochs < training.epochs_done:
        raise TrainError(
            f"--resume: expected --epochs of at least {training.epochs_done}, which the run "
            f"has already done, got {training.settings.epochs}"
        )


def describe(training: checkpoint.Run, dataset: data.Dataset) -> str:
    """Two lines: the data; the model and how it is trained."""
    settings, N, N_test = training.settings, len(dataset.train_images), len(dataset.test_images)
    shape = "x".join(map(str, dataset.input_shape))
    parameters = sum(array.size for layer in training.model for array in layer.params.values())
    start = f", continuing after epoch {training.epochs_done}" if training.epochs_done else ""
    threads = f", {cyconv.get_num_threads()} threads" if settings.backend == "cython" else ""
    return (
        f"{dataset.name}: {N} training and {N_test} test images of {shape}\n"
        f"{settings.model}: {parameters:,} parameters; batch size {settings.batch_size}, Adam, "
        f"lr {settings.lr:g}, seed {settings.seed}; backend {settings.backend}{threads}{start}"
    )


def carry_out(training: checkpoint.Run, dataset: data.Dataset, output: Path) -> int:
    """Train and draw; end with one line whatever happens -> exit status."""
    begin = time.perf_counter()
    again = f"cyconv train --resume --output {shlex.quote(str(output))}"
    try:
        with progress.reporter() as reporter:
            predictions = loop.train(training, dataset, output, reporter)
        pictures.write_pictures(output, training.model, dataset, training.history, predictions)
    except KeyboardInterrupt:
        return stop(130, f"stopped; {kept(training, output)}; continue with: {again}")
    except Diverged as error:
        return stop(
            1,
            f"diverged: {error}; {kept(training, output)}; "
            f"begin again with --overwrite and a smaller --lr than {training.settings.lr:g}",
        )
    print(
        f"test accuracy {training.history[-1]['test_accuracy']:.2%} after {training.epochs_done} epochs, "
        f"{time.perf_counter() - begin:.1f} s; weights, history and pictures are in {output}{os.sep}"
    )
    return 0


def kept(training: checkpoint.Run, output: Path) -> str:
    """What a run that ended early leaves."""
    if not training.epochs_saved:
        return "no epoch was finished"
    return f"epoch {training.epochs_saved} of {training.settings.epochs} is kept in {output}{os.sep}"


def stop(status: int, message: str) -> int:
    """One line on standard error."""
    print(f"cyconv train: {message}", file=sys.stderr)
    return status
