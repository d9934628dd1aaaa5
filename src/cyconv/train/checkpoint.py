"""Everything a run needs to continue as if it had never stopped, in one ``checkpoint.npz``.

The file holds plain arrays, never pickle: the model under ``model/``, the optimizer under ``optimizer/``,
and a JSON text with the settings, the history and the state of the random generator. It replaces its
predecessor atomically, so that whatever happens one good checkpoint remains.
"""

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

import cyconv
from cyconv._types import Arrays

from . import TrainError

CHECKPOINT = "checkpoint.npz"
FORMAT = 1


@dataclass
class Settings:
    """What decides the result of a run. Only ``epochs`` may be raised when it is resumed."""

    data: str | None
    data_name: str
    data_checksum: int
    model: str
    epochs: int
    batch_size: int
    lr: float
    seed: int
    backend: str


@dataclass
class Run:
    """A training run: its settings and all that changes as it goes on."""

    settings: Settings
    model: cyconv.Sequential
    optimizer: cyconv.Adam
    rng: np.random.Generator  # also that of the model's initialisation and dropout
    history: list[dict[str, Any]] = field(default_factory=list)
    epochs_saved: int = 0

    @property
    def epochs_done(self) -> int:
        return len(self.history)

    def save(self, directory: Path) -> None:
        """Write the checkpoint of the last completed epoch."""
        about = {
            "format": FORMAT,
            "settings": asdict(self.settings),
            "history": self.history,
            "rng": self.rng.bit_generator.state,
        }
        state = {f"model/{name}": array for name, array in self.model.state_dict().items()}
        state |= {f"optimizer/{name}": array for name, array in self.optimizer.state_dict().items()}
        state["about"] = np.array(json.dumps(about))
        cyconv.save(state, Path(directory) / CHECKPOINT)
        self.epochs_saved = self.epochs_done

    def restore(self, state: Arrays, about: dict[str, Any]) -> None:
        """Continue from what `read` returned; the model and the optimizer are those of its settings."""
        self.model.load_state_dict(_under("model/", state))
        self.optimizer.load_state_dict(_under("optimizer/", state))
        self.rng.bit_generator.state = about["rng"]
        self.history = about["history"]
        self.epochs_saved = self.epochs_done


def read(directory: Path) -> tuple[Arrays, dict[str, Any]]:
    """Read a checkpoint.

    Returns
    -------
    state : dict of str to ndarray
    about : dict
        ``settings`` (a Settings), ``history`` and ``rng``.

    Raises
    ------
    TrainError
        When there is none, or it is not one of ours.
    """
    path = Path(directory) / CHECKPOINT
    if not path.exists():
        raise TrainError(f"{path}: not found, so there is no run to resume; leave out --resume to begin one")
    try:
        state = cyconv.load(path)
        about = json.loads(str(state.pop("about")))
        if about["format"] != FORMAT:
            raise ValueError(f"format {about['format']}")
        about["settings"] = _settings(about["settings"])
        _check_history(about["history"])
        np.random.PCG64().state = about["rng"]  # refuses what is no state
    except Exception as error:  # a damaged file can fail in any way that zip, npy and JSON know
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TrainError(
            f"{path}: expected a checkpoint of format {FORMAT}, cannot read it: {reason}"
        ) from None
    return state, about


def _settings(written: dict[str, Any]) -> Settings:
    """The Settings of a checkpoint; ValueError where one is of another kind, or no run could have it."""
    settings = Settings(**written)
    types: dict[str, Any] = {f.name: f.type for f in fields(Settings)}
    wrong = [name for name, kind in types.items() if not isinstance(getattr(settings, name), kind)]
    if not wrong:
        least = {"epochs": 1, "batch_size": 1, "seed": 0}
        wrong = [name for name, minimum in least.items() if getattr(settings, name) < minimum]
        wrong += [] if 0 < settings.lr < float("inf") else ["lr"]
        wrong += [] if settings.backend in ("cython", "numpy") else ["backend"]
    if wrong:
        raise ValueError(f"its {', '.join(wrong)} can't be: {settings}")
    return settings


def _check_history(history: Any) -> None:
    """A list with a record of numbers for each epoch."""
    names = {"epoch", "train_loss", "train_accuracy", "test_loss", "test_accuracy"}
    for record in history if isinstance(history, list) else [None]:
        if not isinstance(record, dict) or not names <= record.keys():
            raise ValueError("its history is no list of epochs")
        if not all(isinstance(value, int | float) for value in record.values()):
            raise ValueError("its history has values that are no numbers")


def _under(prefix: str, state: Arrays) -> Arrays:
    return {name.removeprefix(prefix): array for name, array in state.items() if name.startswith(prefix)}
