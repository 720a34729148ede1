"""Numbers of specs and the specs they stand for."""

from __future__ import annotations

from itertools import product
from math import prod
from pathlib import Path

import numpy as np
import pytest
import yaml

from coalition_exit.multiverse.choices.resolve import Resolver
from coalition_exit.multiverse.choices.space import Multiverse, load_multiverse
from coalition_exit.multiverse.reading.describe import describe
from coalition_exit.specs.loading import library_folder, load_spec
from small_multiverse import SMALL, changed


@pytest.fixture(scope="module")
def multiverse() -> Multiverse:
    return load_multiverse(SMALL.encode())


def test_every_combination_once_and_in_order(multiverse: Multiverse) -> None:
    space = multiverse.space
    assert space.size == 2 * 2 * 3 * 2 * 8 * 2 * 3
    digits = space.digits(np.arange(space.size))
    assert [tuple(row) for row in digits.tolist()] == list(product(*(range(r) for r in space.radices)))
    assert [space.number(row) for row in digits.tolist()] == list(range(space.size))


def test_exclusions_by_brute_force(multiverse: Multiverse) -> None:
    space = multiverse.space
    kept = []
    for number in range(space.size):
        names = space.names(space.digits_of(number))
        if not (names["exit"] == "voluntary" and names["trend"] == "own" and float(names["window"]) > 60):
            kept.append(number)
    assert list(space) == kept
    assert space.count() == len(kept)
    assert list(space.allowed(100, 300)) == [n for n in kept if 100 <= n < 300]


@pytest.mark.parametrize(
    ("conditions", "keep"),
    [
        (
            '  allow_if:\n    - window < 90 or ties == "efron"\n',
            lambda n: float(n["window"]) < 90 or n["ties"] == "efron",
        ),
        (
            '  allow_if:\n    - exit == "article"\n    - not trend == "own"\n',
            lambda n: n["exit"] == "article" and n["trend"] != "own",
        ),
    ],
)
def test_all_of_allow_if_must_hold(conditions: str, keep) -> None:  # type: ignore[no-untyped-def]
    space = load_multiverse((SMALL.split("  forbid_if:")[0] + conditions).encode()).space
    expected = [n for n in range(space.size) if keep(space.names(space.digits_of(n)))]
    assert list(space) == expected
    assert space.count() == len(expected)


def test_a_hundred_million_specs_take_no_time_and_no_memory() -> None:
    controls = "[pvict, recexit, polity2, imptce, demdum, newlead, sepdum, latejoin, terraim, regaim, lnodead, actdum]"
    text = changed(
        ("from: 30, to: 90, step: 30", "from: 1, to: 1000, step: 1"),
        ("[pvict, recexit, polity2]", controls),
        ("      always: [latejoin]\n", ""),
    )
    space = load_multiverse(text).space
    assert space.size == 2 * 2 * 1000 * 2 * 4096 * 2 * 3 > 10**8
    assert space.count() == space.size - 940 * 2 * 4096 * 2 * 3
    last = space.allowed(space.size - 3, space.size)
    assert len(last) == 0
    assert len(space.allowed(10**6, 10**6 + 5)) == 5
    spec = Resolver(load_multiverse(text)).resolve(space.digits_of(10**6))
    assert spec.problem == ""


def test_options_change_the_reference_model(multiverse: Multiverse) -> None:
    space, resolver = multiverse.space, Resolver(multiverse)
    names = {"exit": "voluntary", "trend": "own", "window": "30", "wars": "no_world_wars", "controls": "polity2",
             "ties": "efron", "errors": "r"}  # fmt: skip
    digits = [next(k for k, o in enumerate(d.options) if o.name == names[d.name]) for d in space.decisions]
    found = resolver.resolve(digits)
    model = resolver.model(found)
    assert found.slots == ("foverlap", "ctrend60", "imptce", "demdum", "latejoin", "polity2")
    assert model.covariates == ("foverlap", "otrend60", "imptce", "demdum", "latejoin", "polity2")
    assert model.failure == "volunt"
    assert model.coding["otrend60"].parameters["window"] == 30
    assert [e.text for e in model.sample] == ["warnum not in [106, 139]"]
    assert (model.ties, model.errors.correction, model.errors.by) == ("efron", "none", "coalid")


def test_the_reference_spec_is_the_reference_model(multiverse: Multiverse) -> None:
    resolver = Resolver(multiverse)
    model = resolver.model(resolver.resolve(multiverse.space.digits_of(multiverse.space.reference)))
    assert model.covariates == (*multiverse.reference.covariates, "latejoin")
    assert model.failure == multiverse.reference.failure


def test_a_covariate_twice_is_a_problem_of_that_spec() -> None:
    text = changed(("        voluntary: {failure: volunt}", "        voluntary: {failure: volunt, add: [otrend60]}"))
    multiverse = load_multiverse(text)
    space, resolver = multiverse.space, Resolver(multiverse)
    digits = [d.reference for d in space.decisions]
    digits[0] = digits[1] = 1
    assert resolver.resolve(digits).problem == "covariate twice: otrend60"


def test_the_description_counts_and_shows_one(multiverse: Multiverse) -> None:
    text = describe(multiverse)
    assert text.startswith(f"{multiverse.space.count():,} specs from 7 decisions (96 of 1,152 combinations excluded)")
    assert "withdraw ~ foverlap + ctrend60" in text
    assert "window=30" in text


def test_the_multiverse_that_ships_starts_from_the_articles_model() -> None:
    path = library_folder() / "multiverse" / "main.yaml"
    multiverse = load_multiverse(path)
    # Its decisions are lists of options and sweeps, and nothing is excluded.
    counts = [
        len(entry["options"]) if "options" in entry else
        (entry["sweep"]["to"] - entry["sweep"]["from"]) // entry["sweep"]["step"] + 1
        for entry in yaml.safe_load(path.read_text("utf-8"))["choices"]["decisions"].values()
    ]  # fmt: skip
    assert multiverse.space.count() == prod(counts) > 1_000
    resolver = Resolver(multiverse)
    model = resolver.model(resolver.resolve(multiverse.space.digits_of(multiverse.space.reference)))
    full = next(m for m in load_spec(library_folder() / "article" / "table2.yaml").models if m.key == "full")
    assert (model.failure, model.covariates, model.ties) == (full.failure, full.covariates, full.ties)
    assert {name: rule.identity for name, rule in model.coding.items()} == {
        name: rule.identity for name, rule in full.coding.items()
    }


def test_the_pages_example_is_valid() -> None:
    page = (Path(__file__).parents[3] / "docs" / "multiverse.md").read_text(encoding="utf-8")
    text = page.split("```yaml\n")[1].split("```")[0]
    assert load_multiverse(text.encode()).space.count() == 2 * 2 * 4 * 8 - 2 * 8
