"""All specs of a ``choices`` block: from a number to one option a decision, without ever listing them.

Specs are numbered like the readings of an odometer, one wheel a decision, the last decision the fastest.
Numbers of combinations that the exclusions rule out are skipped, so that a spec keeps its number whatever is
excluded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from coalition_exit.coding.expressions import Expression
from coalition_exit.errors import SpecError, nearest, one_of, shown
from coalition_exit.specs.choices import Choices, Decision, parse_choices
from coalition_exit.specs.decisions import DecisionReader
from coalition_exit.specs.loading import Spec, load_spec, vocabulary_of
from coalition_exit.specs.models import ModelSpec
from coalition_exit.specs.yaml_file import YamlFile, parse_yaml, read_yaml

Integers = NDArray[np.int64]
# Combinations of the decisions that the exclusions name which are decided beforehand.
_MOST_DECIDED = 1 << 20
_BLOCK = 1 << 16
MOST_SPECS = 10**15


@dataclass(frozen=True, eq=False)
class Space:
    """The combinations of options.

    Attributes
    ----------
    decisions
        The slowest first.
    allow, forbid
        Conditions that all must hold, and that none may.
    """

    decisions: tuple[Decision, ...]
    allow: tuple[Expression, ...] = ()
    forbid: tuple[Expression, ...] = ()

    @cached_property
    def radices(self) -> tuple[int, ...]:
        """Number of options of each decision."""
        return tuple(len(d.options) for d in self.decisions)

    @cached_property
    def size(self) -> int:
        """Number of combinations, excluded ones too."""
        return prod(self.radices)

    @cached_property
    def _strides(self) -> tuple[int, ...]:
        return tuple(prod(self.radices[k + 1 :]) for k in range(len(self.radices)))

    def digits(self, numbers: Integers) -> Integers:
        """Return the position of each decision's option: shape (n,) to (n, decisions)."""
        return np.stack([numbers // s % r for s, r in zip(self._strides, self.radices, strict=True)], axis=1)

    def digits_of(self, number: int) -> list[int]:
        """Return the position of each decision's option in one spec."""
        return [number // s % r for s, r in zip(self._strides, self.radices, strict=True)]

    def number(self, digits: Sequence[int]) -> int:
        """Return the number of a combination."""
        return sum(int(d) * s for d, s in zip(digits, self._strides, strict=True))

    @property
    def reference(self) -> int:
        """Number of the reference spec."""
        return self.number([d.reference for d in self.decisions])

    def names(self, digits: Sequence[int]) -> dict[str, str]:
        """Return the option of each decision by name."""
        return {d.name: d.options[int(k)].name for d, k in zip(self.decisions, digits, strict=True)}

    def allowed(self, low: int, high: int) -> Integers:
        """Return the numbers from low to high (exclusive) that no exclusion rules out."""
        numbers = np.arange(low, min(high, self.size), dtype=np.int64)
        if not self._involved or not len(numbers):
            return numbers
        return numbers[self._decide(self.digits(numbers)[:, self._involved])]

    def count(self) -> int:
        """Return how many combinations are left by the exclusions, by looking only at the decisions they name."""
        free = prod(r for k, r in enumerate(self.radices) if k not in self._involved)
        if not self._involved:
            return free
        if self._decided is not None:
            return free * int(self._decided.sum())
        return free * sum(int(self._evaluate(block).sum()) for block in self._blocks())

    def __iter__(self) -> Iterator[int]:
        for low in range(0, self.size, _BLOCK):
            yield from (int(n) for n in self.allowed(low, low + _BLOCK))

    @cached_property
    def _involved(self) -> list[int]:
        used = {name for e in (*self.allow, *self.forbid) for name in e.names}
        return [k for k, d in enumerate(self.decisions) if d.name in used]

    @cached_property
    def _inner(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        radices = tuple(self.radices[k] for k in self._involved)
        return radices, tuple(prod(radices[k + 1 :]) for k in range(len(radices)))

    def _blocks(self) -> Iterator[Integers]:
        radices, strides = self._inner
        for low in range(0, prod(radices), _BLOCK):
            numbers = np.arange(low, min(low + _BLOCK, prod(radices)), dtype=np.int64)
            yield np.stack([numbers // s % r for s, r in zip(strides, radices, strict=True)], axis=1)

    @cached_property
    def _decided(self) -> NDArray[np.bool_] | None:
        if prod(self._inner[0]) > _MOST_DECIDED:
            return None
        return np.concatenate([self._evaluate(block) for block in self._blocks()])

    def _decide(self, digits: Integers) -> NDArray[np.bool_]:
        if self._decided is None:
            return self._evaluate(digits)
        return self._decided[digits @ np.array(self._inner[1], dtype=np.int64)]

    def _evaluate(self, digits: Integers) -> NDArray[np.bool_]:
        columns: dict[str, Any] = {}
        for place, k in enumerate(self._involved):
            decision = self.decisions[k]
            present, back = np.unique(digits[:, place], return_inverse=True)
            kind = np.float64 if decision.numeric else object
            columns[decision.name] = np.array([decision.options[int(p)].value for p in present], dtype=kind)[back]
        frame = pd.DataFrame(columns)
        keep = np.ones(len(frame), dtype=bool)
        for expression in self.allow:
            keep &= expression.evaluate(frame)
        for expression in self.forbid:
            keep &= ~expression.evaluate(frame)
        return keep


@dataclass(frozen=True, eq=False)
class Multiverse:
    """A specification with choices, ready to run.

    Attributes
    ----------
    spec
        The specification itself, as a table of models.
    reference
        Its model that the options change.
    choices
        The block as the file has it.
    space
        The combinations.
    file
        The parsed file.
    """

    spec: Spec
    reference: ModelSpec
    choices: Choices
    space: Space
    file: YamlFile


def load_multiverse(source: str | Path | bytes, name: str = "specification") -> Multiverse:
    """Load and check a specification with a ``choices`` block.

    Parameters
    ----------
    source
        Path of a YAML file, or the YAML itself as bytes.
    name
        Name for messages when ``source`` is bytes.

    Raises
    ------
    SpecError
        One line with file, line and key path, what was expected, what came, the nearest name. Also when the
        exclusions leave nothing, or rule out the reference spec.
    """
    file = parse_yaml(source, name) if isinstance(source, bytes) else read_yaml(source)
    if not isinstance(file.content, dict) or "choices" not in file.content:
        load_spec(source, name)
        raise SpecError(file.name, "a key 'choices'", "none")
    spec = load_spec(source, name)
    choices = parse_choices(file)
    keys = [model.key for model in spec.models]
    if choices.model is not None and choices.model not in keys:
        place = file.place(("choices", "model"))
        raise SpecError(place, one_of(keys), shown(choices.model), nearest(choices.model, keys))
    reference = spec.models[keys.index(choices.model) if choices.model else 0]
    reader = DecisionReader(
        file, choices, reference, lambda entry, defaults, at: vocabulary_of(file, at, entry, defaults, spec.data)
    )
    decisions = reader.read()
    space = Space(decisions, *reader.exclusions(decisions))
    _check_size(file, space)
    return Multiverse(spec, reference, choices, space, file)


def _check_size(file: YamlFile, space: Space) -> None:
    place = file.place(("choices", "decisions"))
    if space.size > MOST_SPECS:
        raise SpecError(place, f"at most {MOST_SPECS:.0e} combinations", f"{space.size:.3g}")
    if space.count() == 0:
        raise SpecError(file.place(("choices",)), "exclusions that leave a spec", "none is left")
    if space.reference not in space.allowed(space.reference, space.reference + 1):
        chosen = ", ".join(f"{d.name}={d.options[d.reference].name}" for d in space.decisions)
        hint = "'reference' names another one"
        raise SpecError(file.place(("choices",)), "exclusions that allow the reference spec", chosen, hint)
