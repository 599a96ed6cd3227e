"""The kinds of generators by name. They are imported when asked for: no kind's code counts as another's."""

from importlib import import_module

from stages.generators.interface import Generator


def kind(name: str) -> type[Generator]:
    """The class of the kind `name`, one of `params.KINDS`."""
    found: type[Generator] = import_module(f"stages.generators.kinds.{name}").Kind
    return found
