"""What is said of a multiverse before it is run."""

from __future__ import annotations

import gzip
import shutil
import time
from pathlib import Path

import pytest

from coalition_exit.errors import SpecError
from coalition_exit.multiverse.choices.resolve import Resolver
from coalition_exit.multiverse.choices.space import load_multiverse
from coalition_exit.multiverse.fits.engine import Engine
from coalition_exit.multiverse.reading.describe import count_fits, describe
from coalition_exit.multiverse.reading.needs import check_data, recoding
from coalition_exit.record.loading import Record
from coalition_exit.runner.sources import RecordSource, Sources
from small_multiverse import SMALL, changed

ARCHIVE = Path(__file__).parents[2] / "reference" / "archive_simulated.dta.gz"
BESIDE = (
    ("        own: {replace: {ctrend60: otrend60}}", "        own: {replace: {ctrend60: otrend60}}\n        none: {drop: [ctrend60]}"),
    ("focus: {foverlap: negative, ctrend60: positive}", "focus: {foverlap: negative}"),
)  # fmt: skip


def test_options_without_effect_beside_others_make_no_fits(record: Record) -> None:
    text = changed(*BESIDE, ("variable: [ctrend60, otrend60]", "variable: ctrend60"),
                   ('exit == "voluntary" and trend == "own" and window > 60', 'ties == "efron" and errors != "stata"'),
                   ("subsets_of: [pvict, recexit, polity2]", "subsets_of: [recexit]"))  # fmt: skip
    multiverse = load_multiverse(text)
    count = multiverse.space.count()
    # Three windows are one fit where the trend is own or not there.
    expected = count * (3 + 1 + 1) // 9
    assert count_fits(multiverse, Resolver(multiverse)) == expected
    assert f"{count:,} specs from 7 decisions" in describe(multiverse)
    assert f"different fits: {expected:,} (" in describe(multiverse)
    # The hashes of a run, which are of the data, tell as many.
    engine = Engine(multiverse, RecordSource(record))
    numbers = [n for n in multiverse.space if n < multiverse.space.size]
    keys = {engine.key(engine.resolver.resolve(multiverse.space.digits_of(n))) for n in numbers}
    assert len(keys) == expected


def test_all_fits_are_different() -> None:
    assert "different fits: all of them" in describe(load_multiverse(SMALL.encode()))


def test_two_names_of_one_rule_are_one_fit() -> None:
    text = changed(("        voluntary: {failure: volunt}",
                    "        voluntary: {failure: volunt}\n        same: {coding: {withdraw: article_volunt}}"),
                   ('exit == "voluntary" and trend', 'exit != "article" and trend'))  # fmt: skip
    multiverse = load_multiverse(text)
    per_exit = [sum(multiverse.space.digits_of(n)[0] == k for n in multiverse.space) for k in range(3)]
    assert count_fits(multiverse, Resolver(multiverse)) == per_exit[0] + per_exit[1] == sum(per_exit) - per_exit[2]


def test_a_hundred_million_specs_are_described_at_once() -> None:
    controls = "[pvict, recexit, polity2, imptce, demdum, newlead, sepdum, latejoin, terraim, regaim, lnodead, actdum]"
    text = changed(
        ("from: 30, to: 90, step: 30", "from: 1, to: 1000, step: 1"), ("[pvict, recexit, polity2]", controls),
        ("      always: [latejoin]\n", ""),
    )  # fmt: skip
    multiverse = load_multiverse(text)
    begin = time.process_time()
    said = describe(multiverse)
    assert time.process_time() - begin < 5
    count = multiverse.space.count()
    assert count > 10**8
    assert f"different fits: {count:,} at most" in said


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("archive") / "file.dta"
    with gzip.open(ARCHIVE) as packed, path.open("wb") as file:
        shutil.copyfileobj(packed, file)
    return str(path)


def source(text: bytes, data: str):  # type: ignore[no-untyped-def]
    multiverse = load_multiverse(text)
    return multiverse, Sources(data).for_spec(multiverse.spec)


def test_a_file_that_can_serve_no_spec_is_refused_at_once(archive: str) -> None:
    with pytest.raises(SpecError, match=r"rules in all 1,056: window \(all options\). Run it with --data record"):
        check_data(*source(SMALL.encode(), archive))
    assert check_data(*source(SMALL.encode(), "record")) == ""


def test_what_a_file_cannot_serve_is_said_before_the_rest_is_run(archive: str) -> None:
    text = changed(*BESIDE, ("variable: [ctrend60, otrend60]", "variable: ctrend60"),
                   ('exit == "voluntary" and trend == "own" and window > 60', 'exit == "voluntary" and window > 60'))  # fmt: skip
    multiverse, data = source(text, archive)
    lost = sum(multiverse.space.digits_of(n)[1] == 0 for n in multiverse.space)
    total = multiverse.space.count()
    assert 0 < lost < total
    assert check_data(multiverse, data).startswith(f"{lost:,} of {total:,} specs need the facts of the record")
    assert recoding(multiverse) == {"window": ["all options"]}


def test_options_that_recode_choose_the_record_by_themselves(archive: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from coalition_exit.runner import sources

    monkeypatch.setattr(sources, "archive_path", lambda: Path(archive))
    text = changed(("data: record", "data: auto"))
    assert source(text, "auto")[1].name == "record"
    plain = text.decode().replace(
        "    window:\n      sweep: {variable: [ctrend60, otrend60], from: 30, to: 90, step: 30}\n", ""
    )
    plain = plain.replace(" and window > 60", "")
    assert source(plain.encode(), "auto")[1].name == "archive"
