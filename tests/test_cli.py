"""The command line: status, texts, and that an error leaves everything as it was."""

import json
import shlex
import subprocess
import sys

import numpy as np
import pytest
from test_data import idx_bytes
from test_train import assert_same_state, interrupt_after, without_times

import cyconv
from cyconv.cli import main
from cyconv.train import data, loop, pictures

FILES = [
    "checkpoint.npz",
    "confusion.png",
    "curves.png",
    "filters.png",
    "history.json",
    "mistakes.png",
    "weights.npz",
]
write_pictures = pictures.write_pictures


@pytest.fixture(autouse=True)
def quick_pictures(monkeypatch):
    """Empty picture files: drawing takes longer than these runs."""
    monkeypatch.setattr(
        pictures,
        "write_pictures",
        lambda directory, *rest: [(directory / name).write_bytes(b"") for name in pictures.NAMES],
    )


@pytest.fixture
def images(tmp_path):
    """A directory with IDX files of 40 + 20 images of 8x8."""
    directory = tmp_path / "images"
    directory.mkdir()
    rng = np.random.default_rng(5)
    for name, shape in zip(data.IDX_FILES, ((40, 8, 8), (40,), (20, 8, 8), (20,)), strict=True):
        array = rng.integers(256 if len(shape) > 1 else 10, size=shape, dtype=np.uint8)
        (directory / name).write_bytes(idx_bytes(array))
    return directory


@pytest.fixture
def train(images, tmp_path):
    """Call ``cyconv train`` on the images with a small network; the options given come last."""
    pytest.importorskip("matplotlib")  # without it the command refuses

    def call(*options, output="run", small=True):
        arguments = ["train", "--data", str(images), "--output", str(tmp_path / output)]
        if small:
            arguments += ["--model", "cifar10_convnet", "--batch-size", "8"]
        return main([*arguments, *map(str, options)])

    return call


def content(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def error_line(capsys):
    """What went to standard error: exactly one line, without traceback."""
    text = capsys.readouterr().err
    assert text.count("\n") == 1 and text.startswith("cyconv ") and "Traceback" not in text
    return text


def test_train_writes_everything(train, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(pictures, "write_pictures", write_pictures)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # whose state is the user's: importing it fails
    assert train("--epochs", 2, "--seed", 3, "--lr", 0.002) == 0
    files = content(tmp_path / "run")
    assert sorted(files) == FILES
    assert all(files.values())
    assert all(files[name].startswith(b"\x89PNG") for name in pictures.NAMES)
    history = json.loads((tmp_path / "run" / "history.json").read_text())
    assert [record["epoch"] for record in history["epochs"]] == [1, 2]
    assert set(history["epochs"][0]) == {
        "epoch",
        "lr",
        "train_loss",
        "train_accuracy",
        "test_loss",
        "test_accuracy",
        "seconds",
        "images_per_second",
    }
    settings = history["settings"]
    assert (settings["model"], settings["seed"], settings["lr"]) == ("cifar10_convnet", 3, 0.002)
    output = capsys.readouterr().out
    assert "40 training and 20 test images of 1x8x8" in output
    assert output.count("\nepoch ") == 2
    model = cyconv.models.cifar10_convnet(input_shape=(1, 8, 8))
    model.load(tmp_path / "run" / "weights.npz")


def test_same_seed_same_weights(train, tmp_path):
    for output, seed in (("one", 1), ("same", 1), ("other", 2)):
        assert train("--epochs", 1, "--seed", seed, output=output) == 0
    one, same, other = (cyconv.load(tmp_path / name / "weights.npz") for name in ("one", "same", "other"))
    assert_same_state(one, same)
    assert not np.array_equal(one["0.weight"], other["0.weight"])


def test_resume_for_more_epochs(train, tmp_path, capsys):
    assert train("--epochs", 3, output="whole") == 0
    assert train("--epochs", 1) == 0
    assert main(["train", "--resume", "--epochs", "3", "--output", str(tmp_path / "run")]) == 0
    assert "continuing after epoch 1" in capsys.readouterr().out
    assert_same_state(
        cyconv.load(tmp_path / "run" / "weights.npz"), cyconv.load(tmp_path / "whole" / "weights.npz")
    )
    histories = [json.loads((tmp_path / name / "history.json").read_text()) for name in ("run", "whole")]
    assert without_times(histories[0]["epochs"]) == without_times(histories[1]["epochs"])


def test_resume_of_a_finished_run_changes_no_weight(train, tmp_path):
    assert train("--epochs", 1) == 0
    before = cyconv.load(tmp_path / "run" / "weights.npz")
    (tmp_path / "run" / "curves.png").unlink()
    assert train("--resume", small=False) == 0
    assert_same_state(cyconv.load(tmp_path / "run" / "weights.npz"), before)
    assert sorted(content(tmp_path / "run")) == FILES


def test_ctrl_c_then_the_command_it_names(train, tmp_path, capsys, monkeypatch):
    assert train("--epochs", 2, output="whole") == 0
    capsys.readouterr()
    with monkeypatch.context() as patch:
        interrupt_after(patch, batches=7)  # five batches an epoch
        assert train("--epochs", 2, output="my run") == 130
    line = error_line(capsys)
    assert "epoch 1 of 2 is kept" in line
    command = shlex.split(line.split("continue with: ")[1])
    assert command[0] == "cyconv" and main(command[1:]) == 0
    assert_same_state(
        cyconv.load(tmp_path / "my run" / "weights.npz"), cyconv.load(tmp_path / "whole" / "weights.npz")
    )


def test_ctrl_c_before_training(train, tmp_path, capsys, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(data, "load", interrupted)
    assert train() == 130
    assert error_line(capsys) == "cyconv train: stopped\n"
    assert not (tmp_path / "run").exists()


def test_a_diverged_loss(train, tmp_path, capsys):
    assert train("--epochs", 1) == 0
    before = content(tmp_path / "run")["weights.npz"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "train_batch", lambda *arguments: (float("nan"), 0))
        assert train("--resume", "--epochs", 2) == 1
    line = error_line(capsys)
    assert "diverged: the loss is nan in epoch 2" in line and "smaller --lr" in line
    assert content(tmp_path / "run")["weights.npz"] == before
    assert train("--resume") == 0


def test_a_learning_rate_that_diverges(train, capsys):
    assert train("--epochs", 2, "--lr", 1e30) == 1
    assert "diverged" in error_line(capsys)


def test_a_run_is_not_overwritten_unless_asked(train, tmp_path, capsys):
    assert train("--epochs", 1) == 0
    before = content(tmp_path / "run")
    assert train("--epochs", 2) == 2
    line = error_line(capsys)
    for text in (str(tmp_path / "run"), "--resume", "--overwrite", "--output"):
        assert text in line
    assert content(tmp_path / "run") == before
    assert train("--epochs", 2, "--overwrite") == 0
    assert len(json.loads((tmp_path / "run" / "history.json").read_text())["epochs"]) == 2


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(b"wrong"),
    ],
    ids=["missing", "truncated", "wrong"],
)
def test_a_wrong_file_overwrites_nothing(train, images, tmp_path, capsys, damage):
    assert train("--epochs", 1) == 0
    before = content(tmp_path / "run")
    path = images / data.IDX_FILES[2]
    damage(path)
    for option in ("--overwrite", "--resume"):
        capsys.readouterr()
        assert train(option) == 2
        line = error_line(capsys)
        assert str(path) in line and "expected" in line
    assert content(tmp_path / "run") == before
    assert train(output="new") == 2
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--model", "small_vgg"], "--model cifar10_convnet, got --model small_vgg"),
        (["--batch-size", "16"], "--batch-size 8, got --batch-size 16"),
        (["--lr", "0.5"], "--lr 0.001, got --lr 0.5"),
        (["--seed", "9"], "--seed 0, got --seed 9"),
        (["--epochs", "1"], "--epochs of at least 2"),
    ],
    ids=["model", "batch", "lr", "seed", "epochs"],
)
def test_resume_with_other_settings(train, tmp_path, capsys, options, text):
    assert train("--epochs", 2) == 0
    before = content(tmp_path / "run")
    assert train("--resume", *options) == 2
    assert text in error_line(capsys)
    assert content(tmp_path / "run") == before


def test_resume_with_other_data(train, images, capsys):
    assert train("--epochs", 1) == 0
    path = images / data.IDX_FILES[0]
    path.write_bytes(path.read_bytes()[:-1] + b"\x99")
    assert train("--resume") == 2
    assert "begun with other data" in error_line(capsys)


def test_resume_without_a_run(train, tmp_path, capsys):
    assert train("--resume") == 2
    assert f"{tmp_path / 'run' / 'checkpoint.npz'}: not found" in error_line(capsys)
    assert not (tmp_path / "run").exists()


def test_resume_of_a_checkpoint_that_does_not_fit(train, tmp_path, capsys):
    assert train("--epochs", 1) == 0
    path = tmp_path / "run" / "checkpoint.npz"
    state = cyconv.load(path)
    del state["model/0.weight"]
    cyconv.save(state, path)
    assert train("--resume") == 2
    line = error_line(capsys)
    assert str(path) in line and "0.weight" in line


def test_resume_of_a_checkpoint_of_another_model(train, tmp_path, capsys):
    assert train("--epochs", 1) == 0
    path = tmp_path / "run" / "checkpoint.npz"
    state = cyconv.load(path)
    about = json.loads(str(state["about"]))
    about["settings"]["model"] = "__doc__"
    cyconv.save(state | {"about": np.array(json.dumps(about))}, path)
    before = path.read_bytes()
    assert train("--resume", "--batch-size", 8, small=False) == 2
    assert "the checkpoint's model '__doc__' is none of small_vgg" in error_line(capsys)
    assert path.read_bytes() == before


def test_output_that_is_a_file(train, tmp_path, capsys):
    (tmp_path / "run").write_text("mine")
    assert train() == 2
    assert "expected a directory for --output" in error_line(capsys)
    assert train(output="run/below") == 2
    assert str(tmp_path / "run" / "below") in error_line(capsys)
    assert (tmp_path / "run").read_text() == "mine"


def test_a_model_that_does_not_fit_the_images(train, images, tmp_path, capsys):
    for name, count in ((data.IDX_FILES[0], 40), (data.IDX_FILES[2], 20)):
        (images / name).write_bytes(idx_bytes(np.zeros((count, 3, 3), np.uint8)))
    assert train("--model", "lenet") == 2
    assert "--model lenet: does not fit images of 1x3x3" in error_line(capsys)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("module", "package"), [("matplotlib", "matplotlib"), ("sklearn", "scikit-learn")])
def test_a_missing_extra(tmp_path, capsys, monkeypatch, module, package):
    if module != "matplotlib":
        pytest.importorskip("matplotlib")  # which is asked for first
    monkeypatch.setitem(sys.modules, module, None)
    assert main(["train", "--output", str(tmp_path / "run")]) == 2
    assert f'{package} not installed; run: pip install "cyconv[train]"' in error_line(capsys)
    assert not (tmp_path / "run").exists()


def test_rich_is_needed_on_a_terminal_only(train, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "rich", None)
    assert train("--epochs", 1) == 0
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert train("--epochs", 1, output="other") == 2
    assert "rich not installed" in error_line(capsys)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    "options",
    [
        ["train", "--epochs", "0"],
        ["train", "--epochs", "two"],
        ["train", "--batch-size", "-1"],
        ["train", "--lr", "0"],
        ["train", "--lr", "nan"],
        ["train", "--lr", "much"],
        ["train", "--seed", "-1"],
        ["train", "--threads", "0"],
        ["train", "--model", "resnet"],
        ["train", "--backend", "cuda"],
        ["train", "--resume", "--overwrite"],
        ["summary"],
        ["summary", "resnet"],
        ["summary", "lenet", "--input-shape", "28,28"],
        ["summary", "lenet", "--input-shape", "1,28,x"],
        [],
        ["fit"],
    ],
    ids=" ".join,
)
def test_usage_errors(options, capsys):
    with pytest.raises(SystemExit) as caught:
        main(options)
    assert caught.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_threads_and_backend(train, tmp_path):
    threads, backend = cyconv.get_num_threads(), cyconv.backend
    try:
        assert train("--epochs", 1, "--threads", 1, "--backend", "numpy") == 0
        assert cyconv.get_num_threads() == 1 and cyconv.backend == "numpy"
    finally:
        cyconv.set_num_threads(threads)
        cyconv._backend.use(backend)
    settings = json.loads((tmp_path / "run" / "history.json").read_text())["settings"]
    assert settings["backend"] == "numpy"


def test_too_many_threads(train, capsys):
    assert train("--threads", 10**9) == 2
    assert "--threads 1000000000" in error_line(capsys)


@pytest.mark.parametrize("name", ["cifar10_convnet", "lenet", "small_vgg"])
def test_summary(name, capsys):
    assert main(["summary", name]) == 0
    text = capsys.readouterr().out
    assert "Conv2d" in text and "Linear" in text


def test_summary_input_shape(capsys):
    assert main(["summary", "cifar10_convnet", "--input-shape", "1,16,12"]) == 0
    assert "16" in capsys.readouterr().out
    assert main(["summary", "lenet", "--input-shape", "1,3,3"]) == 2
    assert "lenet does not take --input-shape 1,3,3" in error_line(capsys)


def test_info(capsys):
    assert main(["info"]) == 0
    text = capsys.readouterr().out
    assert cyconv.__version__ in text and cyconv.backend in text


def test_version(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"cyconv {cyconv.__version__}\n"


def test_python_m_cyconv():
    done = subprocess.run(
        [sys.executable, "-m", "cyconv", "--version"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, f"cyconv {cyconv.__version__}\n")
