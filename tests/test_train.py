"""The training loop, checkpoints and pictures, on small networks and images made here."""

import io
import json
import sys

import numpy as np
import pytest

import cyconv
from cyconv.train import Diverged, TrainError, checkpoint, data, loop, progress

N, N_TEST = 50, 30


def make_dataset():
    """Noisy 6x5 images; the class is the place of a bright pixel, so that it can be learnt."""
    rng = np.random.default_rng(7)
    images = rng.integers(60, size=(N + N_TEST, 1, 6, 5), dtype=np.uint8)
    labels = rng.integers(10, size=N + N_TEST)
    images.reshape(N + N_TEST, 30)[np.arange(N + N_TEST), 3 * labels] = 255
    return data.Dataset("idx", images[:N], labels[:N], images[N:], labels[N:], data.DIGITS)


def make_run(epochs, seed=0, lr=0.01):
    """A run of a small network with every kind of state: dropout's, running statistics, moments."""
    settings = checkpoint.Settings(
        data=None,
        data_name="idx",
        data_checksum=0,
        model="test",
        epochs=epochs,
        batch_size=8,
        lr=lr,
        seed=seed,
        backend=cyconv.backend,
    )
    rng = np.random.default_rng(seed)
    model = cyconv.Sequential(
        cyconv.Conv2d(1, 4, 3, padding=1, rng=rng),
        cyconv.BatchNorm2d(4),
        cyconv.ReLU(),
        cyconv.Flatten(),
        cyconv.Dropout(0.2, rng=rng),
        cyconv.Linear(4 * 6 * 5, 10, rng=rng),
    )
    return checkpoint.Run(settings, model, cyconv.Adam(model, lr), rng)


class Silent:
    """A reporter that counts."""

    def __init__(self):
        self.batches, self.records = 0, []

    def start_epoch(self, epoch, epochs, images):
        assert images == N

    def batch(self, done, loss, accuracy):
        self.batches += 1
        assert 0 < done <= N and loss > 0 and 0 <= accuracy <= 1

    def end_epoch(self, record):
        self.records.append(record)


def interrupt_after(monkeypatch, batches, error=KeyboardInterrupt):
    """Let ``batches`` more batches through; the next raises."""
    train_batch, count = loop.train_batch, [0]

    def interrupted(*arguments):
        count[0] += 1
        if count[0] > batches:
            raise error
        return train_batch(*arguments)

    monkeypatch.setattr(loop, "train_batch", interrupted)


def assert_same_state(one, other):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def without_times(history):
    return [
        {key: value for key, value in record.items() if key not in ("seconds", "images_per_second")}
        for record in history
    ]


def resumed(directory, epochs):
    """A run as the command restores it."""
    state, about = checkpoint.read(directory)
    run = make_run(epochs, seed=about["settings"].seed + 1)  # the checkpoint decides, not the new weights
    run.restore(state, about)
    return run


def test_a_run_learns_and_is_on_disk(tmp_path):
    run, dataset, reporter = make_run(epochs=8), make_dataset(), Silent()
    predictions = loop.train(run, dataset, tmp_path, reporter)
    last = run.history[-1]
    assert last["test_accuracy"] == np.mean(predictions == dataset.test_labels) > 0.8
    assert last["train_loss"] < run.history[0]["train_loss"] / 2
    assert reporter.batches == 8 * 7 and reporter.records == run.history
    assert_same_state(cyconv.load(tmp_path / "weights.npz"), run.model.state_dict())
    history = json.loads((tmp_path / "history.json").read_text())
    assert history["epochs"] == run.history
    assert history["settings"]["batch_size"] == 8 and history["data"]["train_images"] == N
    assert history["versions"]["cyconv"] == cyconv.__version__
    assert history["data"]["mean"][0] == pytest.approx(dataset.train_images.mean())
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["checkpoint.npz", "history.json", "weights.npz"]  # and no temporary file


def test_train_figures_are_means_over_images():
    run, dataset = make_run(epochs=1, lr=1e-12), make_dataset()  # weights that stay where they are
    run.model = cyconv.Sequential(cyconv.Flatten(), cyconv.Linear(30, 10, rng=run.rng))
    run.optimizer = cyconv.Adam(run.model, 1e-12)
    logits = run.model.forward(dataset.normalise(dataset.train_images))
    loss, _ = cyconv.softmax_cross_entropy(logits, dataset.train_labels)
    record = loop.run_epoch(run, dataset, Silent())  # 50 images = 6 batches of 8, and one of 2
    assert record["train_loss"] == pytest.approx(loss, rel=1e-5)
    assert record["train_accuracy"] == np.mean(logits.argmax(axis=1) == dataset.train_labels)


def test_the_learning_rate_depends_on_the_epoch_alone(tmp_path):
    run = make_run(epochs=3, lr=0.01)
    loop.train(run, make_dataset(), tmp_path, Silent())
    assert [record["lr"] for record in run.history] == [0.01, 0.01 / 1.5, 0.01 / 2]


def test_same_seed_same_weights(tmp_path):
    runs = [make_run(epochs=2, seed=seed) for seed in (3, 3, 4)]
    for run in runs:
        loop.train(run, make_dataset(), tmp_path, Silent())
    one, same, other = (run.model.state_dict() for run in runs)
    assert_same_state(one, same)
    assert not np.array_equal(one["0.weight"], other["0.weight"])


def test_resumed_is_uninterrupted_bit_for_bit(tmp_path):
    dataset, whole = make_dataset(), make_run(epochs=4)
    (tmp_path / "whole").mkdir()
    loop.train(whole, dataset, tmp_path / "whole", Silent())
    loop.train(make_run(epochs=2), dataset, tmp_path, Silent())
    parts = resumed(tmp_path, epochs=4)
    assert parts.epochs_done == 2
    loop.train(parts, dataset, tmp_path, Silent())
    assert_same_state(parts.model.state_dict(), whole.model.state_dict())
    assert_same_state(parts.optimizer.state_dict(), whole.optimizer.state_dict())
    assert parts.rng.bit_generator.state == whole.rng.bit_generator.state
    assert without_times(parts.history) == without_times(whole.history)


@pytest.mark.parametrize("batches", [0, 3, 7, 10], ids=["at-once", "first-epoch", "second", "mid-second"])
def test_interrupted_then_resumed(tmp_path, monkeypatch, batches):
    dataset, whole = make_dataset(), make_run(epochs=3)
    (tmp_path / "whole").mkdir()
    loop.train(whole, dataset, tmp_path / "whole", Silent())
    run = make_run(epochs=3)
    with monkeypatch.context() as patch:
        interrupt_after(patch, batches)
        with pytest.raises(KeyboardInterrupt):
            loop.train(run, dataset, tmp_path, Silent())
    assert run.epochs_saved == batches // 7
    parts = resumed(tmp_path, epochs=3)
    loop.train(parts, dataset, tmp_path, Silent())
    assert_same_state(parts.model.state_dict(), whole.model.state_dict())


def test_interrupted_while_saving(tmp_path, monkeypatch):
    run, dataset = make_run(epochs=2), make_dataset()
    save, calls = cyconv.save, []

    def interrupted(state, path):
        calls.append(path)
        if len(calls) == 3:  # before the first epoch, after it, after the second
            raise KeyboardInterrupt
        save(state, path)

    monkeypatch.setattr(cyconv, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        loop.train(run, dataset, tmp_path, Silent())
    assert run.epochs_saved == resumed(tmp_path, epochs=2).epochs_done == 1


def test_a_diverged_loss_keeps_the_last_good_epoch(tmp_path, monkeypatch):
    run, dataset = make_run(epochs=3), make_dataset()
    train_batch, count = loop.train_batch, [0]

    def diverging(*arguments):
        count[0] += 1
        loss, hits = train_batch(*arguments)
        return (np.nan if count[0] == 10 else loss), hits

    monkeypatch.setattr(loop, "train_batch", diverging)
    with pytest.raises(Diverged, match="loss is nan in epoch 2, at image 16 of 50"):
        loop.train(run, dataset, tmp_path, Silent())
    kept = resumed(tmp_path, epochs=3)
    assert kept.epochs_done == 1
    assert_same_state(cyconv.load(tmp_path / "weights.npz"), kept.model.state_dict())
    assert all(np.isfinite(array).all() for array in kept.model.state_dict().values())


def test_weights_that_diverge_in_the_last_step_are_not_kept(tmp_path, monkeypatch):
    run, dataset = make_run(epochs=2), make_dataset()
    step, count = run.optimizer.step, [0]

    def broken():
        step()
        count[0] += 1
        if count[0] == 14:  # the last step of the second epoch
            run.model[0].params["weight"][...] = np.nan

    monkeypatch.setattr(run.optimizer, "step", broken)
    with pytest.raises(Diverged, match="test loss of epoch 2 is nan"):
        loop.train(run, dataset, tmp_path, Silent())
    assert resumed(tmp_path, epochs=2).epochs_done == 1


def test_evaluate_is_the_whole_test_set_in_eval_mode(monkeypatch):
    run, dataset = make_run(epochs=1), make_dataset()
    run.model.eval()
    logits = run.model.forward(dataset.normalise(dataset.test_images))
    loss, _ = cyconv.softmax_cross_entropy(logits, dataset.test_labels)
    run.model.train()
    monkeypatch.setattr(loop, "EVALUATION_BATCH", 7)  # 30 = 4 * 7 + 2
    measured, accuracy, predictions = loop.evaluate(run.model, dataset)
    assert not run.model.training
    assert measured == pytest.approx(loss, rel=1e-5)
    np.testing.assert_array_equal(predictions, logits.argmax(axis=1))
    assert accuracy == np.mean(predictions == dataset.test_labels)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not a zip", "unrelated", "future"])
def test_a_wrong_checkpoint_is_one_line(tmp_path, content):
    path = tmp_path / "checkpoint.npz"
    if content == "unrelated":
        cyconv.save({"0.weight": np.zeros(3, np.float32)}, path)
    elif content == "future":
        cyconv.save({"about": np.array(json.dumps({"format": 99}))}, path)
    else:
        path.write_bytes(content)
    with pytest.raises(TrainError, match=r"checkpoint\.npz: expected a checkpoint of format 1") as caught:
        checkpoint.read(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_truncated_checkpoint_is_one_line(tmp_path):
    make_run(epochs=1).save(tmp_path)
    path = tmp_path / "checkpoint.npz"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(TrainError, match="expected a checkpoint of format 1"):
        checkpoint.read(tmp_path)


HOSTILE_CHECKPOINTS = {  # what is changed in the text of a good one
    "version": {"format": 2},
    "no-settings": {"settings": None},
    "settings-unknown": {"settings": {"data": 1}},
    "model": {"settings": {"model": None}},
    "epochs": {"settings": {"epochs": "ten"}},
    "batch-size": {"settings": {"batch_size": 0}},
    "rate": {"settings": {"lr": float("nan")}},
    "seed": {"settings": {"seed": -1}},
    "backend": {"settings": {"backend": "fortran"}},
    "history": {"history": 5},
    "history-records": {"history": [1, 2]},
    "history-names": {"history": [{"epoch": 1}]},
    "rng": {"rng": {"bit_generator": "MT19937"}},
    "rng-number": {"rng": {"bit_generator": "PCG64", "state": {"state": -1, "inc": 1}, "has_uint32": 0, "uinteger": 0}},
}


@pytest.mark.parametrize("change", HOSTILE_CHECKPOINTS.values(), ids=HOSTILE_CHECKPOINTS)
def test_a_hostile_checkpoint_is_one_line(tmp_path, change):
    run = make_run(epochs=1)
    run.save(tmp_path)
    path = tmp_path / "checkpoint.npz"
    checkpoint.read(tmp_path)  # a good one
    state = cyconv.load(path)
    about = json.loads(str(state["about"]))
    for name, value in change.items():
        about[name] = about[name] | value if isinstance(value, dict) and name == "settings" else value
    state["about"] = np.array(json.dumps(about))
    cyconv.save(state, path)
    content = path.read_bytes()
    with pytest.raises(TrainError, match=r"checkpoint\.npz: expected a checkpoint of format 1") as caught:
        checkpoint.read(tmp_path)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == content


def test_a_checkpoint_needs_no_pickle(tmp_path):
    make_run(epochs=1).save(tmp_path)
    with np.load(tmp_path / "checkpoint.npz", allow_pickle=False) as archive:
        assert {"about", "model/0.weight"} <= set(archive.files)
        assert all(archive[name].dtype != object for name in archive.files)


RECORD = {  # of an epoch
    "epoch": 2,
    "train_loss": 0.5,
    "train_accuracy": 0.75,
    "test_loss": 0.25,
    "test_accuracy": 0.875,
    "images_per_second": 12345.6,
    "seconds": 1.25,
}


def test_lines_and_bar(capsys):
    with progress.reporter() as reporter:
        assert isinstance(reporter, progress.Lines)  # no terminal here
        reporter.start_epoch(2, 10, N)
        reporter.batch(8, 0.5, 0.75)
        reporter.end_epoch(RECORD)
    line = capsys.readouterr().out
    assert line == (
        "epoch  2/10  loss 0.5000  accuracy 75.00%  test loss 0.2500  test accuracy 87.50%"
        "  12,346 images/s  1.2 s\n"
    )


def test_bar_on_a_terminal():
    pytest.importorskip("rich")
    stream = io.StringIO()
    stream.isatty = lambda: True
    with progress.reporter(stream) as reporter:
        reporter.start_epoch(1, 1, N)
        reporter.batch(N, 0.5, 0.75)
        reporter.progress.refresh()
        reporter.end_epoch(RECORD)
    assert "loss 0.5000  accuracy 75.00%" in stream.getvalue()
    assert "test accuracy 87.50%" in stream.getvalue()


class TestPictures:
    """matplotlib without pyplot, so nobody's state or backend changes."""

    @pytest.fixture(autouse=True)
    def _no_pyplot(self, monkeypatch):
        pytest.importorskip("matplotlib")
        monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # importing it now fails

    def test_confusion_matrix(self):
        from cyconv.train import pictures

        labels, predictions = np.array([0, 0, 1, 2]), np.array([0, 2, 1, 2])
        np.testing.assert_array_equal(
            pictures.confusion_matrix(labels, predictions, 3), [[1, 0, 1], [0, 1, 0], [0, 0, 1]]
        )

    @pytest.mark.parametrize("wrong", [0, 1, 30])
    def test_mistakes(self, wrong):
        from cyconv.train import pictures

        dataset = make_dataset()
        predictions = dataset.test_labels.copy()
        predictions[:wrong] = (predictions[:wrong] + 1) % 10
        figure = pictures.mistakes(dataset, predictions)
        titles = [axes.get_title() for axes in figure.axes]
        assert titles == [f"{dataset.test_labels[i]} > {predictions[i]}" for i in range(wrong)]

    def test_mistakes_in_colour(self):
        from cyconv.train import pictures

        images = np.zeros((2, 3, 4, 5), np.uint8)
        images[1, 0, 2, 3] = 200  # red
        labels = np.array([3, 4])
        dataset = data.Dataset("cifar10", images, labels, images, labels, data.CIFAR10_CLASSES)
        figure = pictures.mistakes(dataset, np.array([3, 5]))
        assert [axes.get_title() for axes in figure.axes] == ["deer > dog"]
        shown = figure.axes[0].images[0].get_array()
        assert shown.shape == (4, 5, 3)
        np.testing.assert_array_equal(shown[2, 3], [1, 0, 0])

    @pytest.mark.parametrize("C_in", [1, 2, 3])
    def test_filters(self, C_in):
        from cyconv.train import pictures

        model = cyconv.Sequential(cyconv.Conv2d(C_in, 11, 3), cyconv.ReLU(), cyconv.Conv2d(11, 2, 3))
        assert len(pictures.filters(model).axes) == 11
