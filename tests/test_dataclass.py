"""The package's dataclasses are those of the standard library, but finished when they are first used."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import json
import pickle
import subprocess
import sys
import threading

import dnn
import pytest
from dnn._dataclass import dataclass

# A class of the library in one process and the same source with the standard library's decorator in another.
SOURCE = '''
import dataclasses, inspect, pickle
from dataclasses import KW_ONLY, field
from typing import ClassVar

@dataclass(frozen=True)
class Base:
    """The base."""
    kind: ClassVar[str] = "base"
    rate: float = 0.5
    _: KW_ONLY
    decay: float = 0.0

    def __post_init__(self):
        if self.rate < 0:
            raise ValueError("rate must not be negative")

@dataclass(frozen=True, repr=False)
class Derived(Base):
    """One with a field that nobody gives."""
    size: int = 3
    fixed: None = field(default=None, init=False, repr=False)

    def __repr__(self):
        return "ours"

class Plain(Base):
    """One that inherits all."""
    __slots__ = ()
    kind: ClassVar[str] = "plain"
'''


def made(with_decorator: object) -> dict[str, object]:
    names: dict[str, object] = {"dataclass": with_decorator, "__name__": __name__}
    # Annotations are objects there, so that no module of that name is looked for.
    exec(compile(SOURCE, "source", "exec", dont_inherit=True), names)
    return names


def told(names: dict[str, object], name: str) -> dict[str, object]:
    """What can be seen of a class, and of objects of it."""
    cls: type = names[name]  # type: ignore[assignment]
    one, other = cls(0.25, decay=0.5), cls(0.25, decay=0.5)
    return {
        "signature": str(inspect.signature(cls)),
        "of init": str(inspect.signature(cls.__init__)),
        "fields": [(f.name, f.type, f.default, f.init, f.kw_only) for f in dataclasses.fields(cls)],
        "params": str(cls.__dataclass_params__),  # type: ignore[attr-defined]
        "match": cls.__match_args__,  # type: ignore[attr-defined]
        "repr": repr(one),
        "equal": (one == other, one == cls(), one == 1, hash(one) == hash(other)),
        "replaced": dataclasses.asdict(dataclasses.replace(one, rate=2.0)),
        "doc": cls.__doc__,
        "is": dataclasses.is_dataclass(cls),
    }


@pytest.mark.parametrize("name", ["Base", "Derived", "Plain"])
def test_a_class_is_what_the_standard_library_makes_of_it(name: str) -> None:
    assert told(made(dataclass), name) == told(made(dataclasses.dataclass), name)


@pytest.mark.parametrize("name", ["Base", "Derived", "Plain"])
@pytest.mark.parametrize(
    "arguments",
    [((1, 2, 3, 4), {}), ((), {"unknown": 1}), ((-1.0,), {}), ((1.0,), {"rate": 1.0}), ((), {"fixed": None})],
)
def test_a_wrong_call_gets_the_error_of_the_standard_library(
    name: str, arguments: tuple[tuple[float, ...], dict[str, float | None]]
) -> None:
    given, named = arguments
    errors = []
    for decorator in (dataclass, dataclasses.dataclass):
        with pytest.raises((TypeError, ValueError)) as caught:
            made(decorator)[name](*given, **named)  # type: ignore[operator]
        errors.append((caught.type, str(caught.value)))
    assert errors[0] == errors[1]


def test_objects_are_frozen() -> None:
    layer = dnn.Dense(3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        layer.units = 4  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        del layer.units


@pytest.mark.parametrize("how", ["pickle.loads(pickle.dumps(one))", "copy.copy(one)", "copy.deepcopy(one)"])
def test_a_copy_is_equal_to_what_was_copied(how: str) -> None:
    one = dnn.CosineDecay(0.1, 100)
    assert eval(how, {"pickle": pickle, "copy": copy, "one": one}) == one


def test_an_object_from_a_pickle_works_in_a_process_that_made_none() -> None:
    code = (
        "import pickle, sys; one = pickle.loads(sys.stdin.buffer.read()); "
        "import dnn; print(one == dnn.Adam(0.01), repr(one), hash(one) == hash(dnn.Adam(0.01)))"
    )
    one = dnn.Adam(0.01)
    done = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps(one), capture_output=True, check=True
    )
    assert done.stdout.decode() == f"True {one!r} True\n"


def test_a_class_of_the_user_may_have_an_init_and_a_second_base() -> None:
    class Second:
        made_with: tuple[object, ...] = ()

        def __new__(cls, *given: object) -> Second:
            self = super().__new__(cls)
            object.__setattr__(self, "made_with", given)
            return self

    class Mine(dnn.Dropout, Second):
        def __init__(self, percent: float) -> None:
            super().__init__(percent / 100)

    assert str(inspect.signature(Mine)) == "(percent: 'float') -> 'None'"
    assert (Mine(25.0).rate, Mine(25.0).made_with) == (0.25, (25.0,))


def test_a_match_takes_fields_by_place() -> None:
    match dnn.LeakyReLU(0.25):
        case dnn.LeakyReLU(slope):
            assert slope == 0.25
        case _:
            raise AssertionError


def test_threads_that_use_a_class_first_at_the_same_time_all_get_it_whole() -> None:
    for _ in range(20):
        cls = made(dataclass)["Derived"]
        start, found = threading.Barrier(8), []

        def use(cls: object = cls, start: threading.Barrier = start, found: list[object] = found) -> None:
            start.wait()
            found.append((len(dataclasses.fields(cls)), cls(1.0).rate))  # type: ignore[arg-type, operator]

        threads = [threading.Thread(target=use) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [(4, 1.0)] * 8


def test_import_finishes_no_class_and_a_use_finishes_its_own() -> None:
    code = """
import dataclasses, json
done = []
real = dataclasses.dataclass
def counting(cls=None, **options):
    if cls is not None:
        done.append(cls.__name__)
        return real(cls, **options)
    def finish(made):
        done.append(made.__name__)
        return real(**options)(made)
    return finish
dataclasses.dataclass = counting
import dnn
at_import = list(done)
dnn.Dropout(0.5)
print(json.dumps([at_import, done[len(at_import):]]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    at_import, later = json.loads(done.stdout)
    assert at_import == [], at_import
    assert later == ["Dropout"]
