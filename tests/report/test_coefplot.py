"""Coefficient plots as numbers, and a look at what is drawn."""

from __future__ import annotations

import hashlib
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from coalition_exit.report import coefplot
from coalition_exit.report.coefplot import COLOURS, MARKERS, TALLEST, draw, look, plot_data, save
from coalition_exit.runner import RunResult
from coalition_exit.specs.loading import Spec, load_spec


@pytest.fixture(scope="module")
def data(kinds: Spec, result: RunResult) -> pd.DataFrame:
    return plot_data(kinds, result.estimates)


def test_columns(data: pd.DataFrame) -> None:
    assert list(data.columns) == [
        "table", "model", "model_label", "estimator", "term", "term_label",
        "estimate", "conf_low", "conf_high", "order", "position",
    ]  # fmt: skip


def test_numbers_are_the_estimates(data: pd.DataFrame, result: RunResult) -> None:
    estimates = result.estimates.set_index(["model", "term"])
    shown = data.set_index(["model", "term"])
    # One term is left out of the figure by the layout.
    assert set(shown.index) == {key for key in estimates.index if key[1] != "pvict"}
    for name in ("estimate", "conf_low", "conf_high"):
        np.testing.assert_array_equal(shown[name], estimates.loc[shown.index, name])


def test_positions_are_by_row_and_then_by_model(data: pd.DataFrame, kinds: Spec) -> None:
    order = [term for term in kinds.order if term != "pvict"]
    assert list(dict.fromkeys(data["term"])) == order
    keys = [m.key for m in kinds.models]
    for row in data.itertuples():
        offset = (keys.index(row.model) - 2) * 0.75 / 5
        assert row.order == keys.index(row.model)
        assert row.position == pytest.approx(order.index(row.term) + offset, abs=1e-6)
    assert data["position"].is_monotonic_increasing
    assert data["position"].is_unique
    # Rows of one term keep clear of the next.
    assert (data["position"] - data["term"].map(order.index)).abs().max() < 0.5


def test_labels_carry_the_group(data: pd.DataFrame) -> None:
    assert set(data["model_label"]) == {"Abandonment: Plain", "Abandonment: Efron", "Voluntary: Sample", "Coded"}


def test_the_same_label_twice_is_two_rows_and_two_series(record: object) -> None:
    text = """
table: same
title: Same
defaults: {failure: withdraw, covariates: [foverlap, ctrend60]}
models: [{key: a, label: Same}, {key: b, label: Same}]
labels: {foverlap: Twice, ctrend60: Twice}
"""
    spec = load_spec(text.encode())
    rows = [
        ("same", m, t, e, e - 1, e + 1)
        for m, t, e in (("a", "foverlap", 1), ("a", "ctrend60", 2), ("b", "foverlap", 3), ("b", "ctrend60", 4))
    ]
    estimates = pd.DataFrame(rows, columns=["table", "model", "term", "estimate", "conf_low", "conf_high"])
    axes = draw(plot_data(spec, estimates), "T", "N").axes[0]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["Twice", "Twice"]
    series = [line for line in axes.lines if line.get_marker() in MARKERS]
    assert [list(line.get_xdata()) for line in series] == [[1, 2], [3, 4]]
    assert len({line.get_color() for line in series} | {line.get_markerfacecolor() for line in series}) >= 2


def test_looks_differ() -> None:
    assert len({look(k) for k in range(49)}) == 49
    assert [look(k)[0] for k in range(7)] == list(COLOURS)
    assert [look(k)[1] for k in range(7)] == list(MARKERS)


def test_a_failed_model_does_not_change_the_others_colours(data: pd.DataFrame) -> None:
    axes = draw(data, "T", "N").axes[0]
    series = {line.get_label(): line for line in axes.lines if line.get_marker() in MARKERS}
    assert series["Coded"].get_markerfacecolor() == look(4)[0]
    assert series["Coded"].get_marker() == look(4)[1]


def test_what_is_drawn_is_the_data(data: pd.DataFrame) -> None:
    figure = draw(data, "A title", "A note.")
    axes = figure.axes[0]
    assert figure.get_suptitle() == "A title"
    assert "log hazard ratio" in axes.get_xlabel()
    zero = axes.lines[0]
    assert list(zero.get_xdata()) == [0, 0]
    drawn = [line for line in axes.lines if line.get_marker() in MARKERS]
    points = sorted((y, x) for line in drawn for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True))
    assert points == sorted(zip(data["position"], data["estimate"], strict=True))
    segments = [s for c in axes.collections for s in c.get_segments()]
    ends = sorted((s[0][1], s[0][0], s[1][0]) for s in segments)
    assert ends == sorted(zip(data["position"], data["conf_low"], data["conf_high"], strict=True))
    # The first term stands on top.
    assert axes.get_ylim()[0] > axes.get_ylim()[1]
    texts = [t.get_text() for t in figure.legends[0].get_texts()]
    assert texts == ["Abandonment: Plain", "Abandonment: Efron", "Voluntary: Sample", "Coded"]


def test_one_model_needs_no_legend(data: pd.DataFrame) -> None:
    assert draw(data[data["model"] == "plain"], "T", "N").legends == []


STRANGE = ("$x$", "$\\frac", "a $ b", "^_{}~\\", "漢字 ☃", "<b>&amp;</b>", "x" * 120, "word " * 24)


def test_any_label_can_be_drawn(data: pd.DataFrame, tmp_path: Path) -> None:
    row = data.iloc[0].to_dict()
    rows = [row | {"term": f"v{k}", "term_label": label, "position": k} for k, label in enumerate(STRANGE)]
    rows += [r | {"model": f"m{k}", "model_label": r["term_label"], "order": k} for k, r in enumerate(rows)]
    svg = save(draw(pd.DataFrame(rows), " ".join(STRANGE), " ".join(STRANGE)), tmp_path / "strange")[2]
    text = svg.read_text(encoding="utf-8")
    for label in ("$x$", "a $ b", "漢字 ☃", "&lt;b&gt;&amp;amp;&lt;/b&gt;"):
        assert label in text


def test_many_models_stay_within_what_can_be_drawn(tmp_path: Path) -> None:
    rows = [
        ("t", f"m{j}", f"Model {j}", "cox", f"v{k}", f"V{k}", j, j - 1.0, j + 1.0, j, k + j / 300)
        for k in range(8)
        for j in range(150)
    ]
    names = [
        "table",
        "model",
        "model_label",
        "estimator",
        "term",
        "term_label",
        "estimate",
        "conf_low",
        "conf_high",
        "order",
        "position",
    ]
    figure = draw(pd.DataFrame(rows, columns=names), "T", "N")
    assert figure.get_size_inches()[1] <= TALLEST
    assert figure.legends == []


def test_nothing_to_draw_is_said_in_the_figure(data: pd.DataFrame, tmp_path: Path) -> None:
    paths = save(draw(data.iloc[:0], "The title", "N"), tmp_path / "empty")
    svg = paths[2].read_text(encoding="utf-8")
    assert "No estimates to show" in svg
    assert "The title" in svg


def _hashes(paths: list[Path]) -> list[str]:
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]


@pytest.fixture(scope="module")
def saved(data: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return save(draw(data, "A title", "A note"), tmp_path_factory.mktemp("figures") / "a")


def test_equal_figures_are_equal_bytes(data: pd.DataFrame, saved: list[Path], tmp_path: Path) -> None:
    again = save(draw(data, "A title", "A note"), tmp_path / "b")
    assert [p.suffix for p in saved] == [".png", ".pdf", ".svg"]
    assert _hashes(again) == _hashes(saved)


def test_another_title_is_another_figure(
    data: pd.DataFrame, saved: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coefplot, "FORMATS", ("svg",))
    (other,) = save(draw(data, "Another title", "A note"), tmp_path / "c")
    assert other.read_text("utf-8") != saved[2].read_text("utf-8")


def test_figures_name_no_time_and_no_tool(saved: list[Path]) -> None:
    png, pdf, svg = saved
    assert b"CreationDate" not in pdf.read_bytes()
    assert "dc:date" not in svg.read_text(encoding="utf-8")
    with Image.open(png) as image:
        assert set(image.info) <= {"dpi"}


def test_print_quality(data: pd.DataFrame, saved: list[Path]) -> None:
    with Image.open(saved[0]) as image:
        assert image.width == 2100
        assert image.info["dpi"][0] == pytest.approx(300, abs=0.1)
        pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
    # Every series that is shown leaves its colour in the picture.
    for order in sorted(set(data["order"])):
        wanted = [int(look(order)[0][k : k + 2], 16) for k in (1, 3, 5)]
        assert (pixels == wanted).all(axis=1).any(), look(order)


def test_drawing_leaves_matplotlibs_settings_alone(data: pd.DataFrame) -> None:
    before = dict(mpl.rcParams)
    draw(data, "T", "N")
    assert dict(mpl.rcParams) == before
