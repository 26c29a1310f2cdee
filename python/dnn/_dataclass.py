"""The standard library's `dataclass`, at work when a class is first used instead of when it is defined.

In: a class and the options of `dataclasses.dataclass`. Out: the same class. It never changes what a class
does: the standard library finishes it, only later.

The package has some seventy such classes, of which a program uses five. The standard library compiles the
source of six methods for each when it is defined: 0.4 to 1 ms, two thirds of the time of `import dnn`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # Type checkers know this one by its name.
    from dataclasses import dataclass as dataclass
else:
    import dataclasses
    import inspect
    from _thread import RLock  # `threading` itself takes a millisecond

    # One for all classes: a class is finished with its bases.
    _LOCK = RLock()

    class _Later:
        """Stands in an unfinished class for what the finished one has under that name."""

        def __init__(self, name, finish):
            self.name, self.finish = name, finish

        def __get__(self, instance, owner):
            self.finish()
            return getattr(owner if instance is None else instance, self.name)

    class _Signature:
        """That of `__init__`: who asks would be told that of `__new__`."""

        def __get__(self, instance, owner):
            if instance is not None:
                raise AttributeError("__signature__")
            signature = inspect.signature(owner.__init__)
            return signature.replace(parameters=list(signature.parameters.values())[1:])

    def dataclass(**options):
        """Decorate a class as `dataclasses.dataclass(**options)` does."""
        return lambda made: _unfinished(made, options)

    def _unfinished(made, options):
        waiting = True

        def finish():
            nonlocal waiting
            with _LOCK:
                if waiting:
                    waiting = False
                    # The standard library keeps these where they are, and replaces the others.
                    del made.__init__, made.__match_args__
                    dataclasses.dataclass(**options)(made)

        # Whoever makes an object comes by here: a call, but also pickle and copy, which know no `__init__`.
        def new(cls, *arguments, **named):
            finish()
            make = super(made, cls).__new__
            return make(cls) if make is object.__new__ else make(cls, *arguments, **named)

        made.__new__ = new
        made.__signature__ = _Signature()
        for name in ("__init__", "__match_args__", "__dataclass_fields__", "__dataclass_params__"):
            setattr(made, name, _Later(name, finish))
        return made
