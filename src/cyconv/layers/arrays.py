"""The dicts that hold a layer's parameters, gradients and buffers."""

from typing import Any, NoReturn

from .. import _checks
from .._types import AnyArray


class InPlace(dict[str, AnyArray]):
    """Arrays by name, filled in place: an assignment to a name that is there writes into its array."""

    def __setitem__(self, name: str, value: AnyArray) -> None:
        array = self.get(name)
        if array is None:
            self._add(name, value)
        elif array is not value:  # `arrays[name] -= step` has written already
            _checks.assigned(name, value, array)
            array[...] = value

    def _add(self, name: str, value: AnyArray) -> None:
        super().__setitem__(name, value)

    def update(self, *others: Any, **named: AnyArray) -> None:
        for name, value in dict(*others, **named).items():
            self[name] = value

    def __ior__(self, other: Any) -> "InPlace":  # type: ignore[override, misc]
        self.update(other)
        return self


class Collected(InPlace):
    """The arrays of several layers. Names come and go in the layers: here that would be lost, and is an error."""

    def _add(self, name: str, value: AnyArray) -> None:
        raise _checks.names_of_layers(name)

    def _refused(self, *arguments: Any) -> NoReturn:
        raise _checks.names_of_layers(*arguments[:1])

    __delitem__ = pop = popitem = clear = setdefault = _refused

    def __reduce__(self) -> tuple[Any, ...]:
        return InPlace, (dict(self),)  # a copy has no layers behind it
