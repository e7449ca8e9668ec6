"""Every error survives pickling with message, hint and exit code: Ray carries errors that way."""

import pickle

import pytest

from i4d import errors
from i4d.errors import I4DError


def classes(cls=I4DError):
    yield cls
    for child in cls.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from classes(child)


@pytest.mark.parametrize("cls", list(classes()))
def test_pickle(cls):
    err = cls("block 3 is missing", "run prepare again")
    back = pickle.loads(pickle.dumps(err))
    assert type(back) is cls
    assert (str(back), back.message, back.hint) == (str(err), err.message, err.hint)
    assert back.exit_code in (1, 2, 3, 4, 5)


def test_the_tree_drawn_in_the_docstring_is_the_tree():
    for cls in classes():
        line = next(line for line in errors.__doc__.splitlines() if cls.__name__ in line.split())
        assert line.split()[line.split().index(cls.__name__) + 1] == str(cls.exit_code)
