"""What ``cyconv train`` needs: data readers, the training loop, checkpoints, progress and pictures.

data.py        read a data set from disk, every byte checked
loop.py        one epoch, the evaluation, a whole run
checkpoint.py  everything a run needs to continue, in one file
progress.py    a bar on a terminal, plain lines elsewhere
pictures.py    what the run looks like
command.py     the command itself: options -> checks -> run -> pictures
"""

from importlib.util import find_spec

EXTRAS = {"rich": "rich", "matplotlib": "matplotlib", "sklearn": "scikit-learn"}


class TrainError(Exception):
    """Something that the user can put right: one line on standard error, exit status 2."""


class Diverged(Exception):
    """The loss is no longer a number: one line on standard error, exit status 1."""


def require(*modules: str) -> None:
    """Raise TrainError, before any work is done, when a module of the ``train`` extra is missing."""
    missing = [EXTRAS[module] for module in modules if find_spec(module) is None]
    if missing:
        raise TrainError(f'{" and ".join(missing)} not installed; run: pip install "cyconv[train]"')
