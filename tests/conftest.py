"""Fixtures: the backends in turn, and everything that a test switches put back afterwards."""

import os
import warnings

import hypothesis
import pytest

with warnings.catch_warnings():  # a pure-Python installation says so, once, and that is fine here
    warnings.simplefilter("ignore", RuntimeWarning)
    import cyconv

from helpers import VARIANTS, using
from layer_cases import NoDraws

from cyconv import _backend, models

# No deadline: shared machines stall. Derandomised: a failure in CI is a failure at home.
hypothesis.settings.register_profile("cyconv", deadline=None, derandomize=True, database=None)
hypothesis.settings.register_profile("search", deadline=None, max_examples=5000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "cyconv"))


@pytest.fixture(params=VARIANTS)
def backend(request):
    """Run the test on NumPy and on every compiled level of this CPU; gives "numpy", "base", "v3", ..."""
    with using(request.param):
        yield request.param


@pytest.fixture(autouse=True)
def thread_count():
    """Whatever a test sets, the next one starts with the default number of threads."""
    before = cyconv.get_num_threads()
    yield before
    cyconv.set_num_threads(before)


@pytest.fixture(scope="module")
def vgg16():
    """With zeros for weights, of which no page is touched."""
    return models.vgg16(rng=NoDraws())


@pytest.fixture(scope="module")
def alexnet():
    return models.alexnet(rng=NoDraws())


def pytest_report_header():
    return f"cyconv: backend {_backend.name}, tested {', '.join(VARIANTS)}"


def pytest_collection_modifyitems(config, items):
    """Tests marked `large` run only where -m names them."""
    if "large" in config.option.markexpr:
        return
    large = [item for item in items if item.get_closest_marker("large")]
    if large:
        config.hook.pytest_deselected(items=large)
        items[:] = [item for item in items if item not in large]
