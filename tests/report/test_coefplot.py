"""Coefficient plots as numbers, and a look at what is drawn."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from coalition_exit.report import coefplot
from coalition_exit.report.coefplot import COLOURS, GAP, LABEL, MARKERS, TALLEST, draw, look, plot_data, save
from coalition_exit.runner import RunResult
from coalition_exit.specs.loading import Spec, load_spec


@pytest.fixture(scope="module")
def data(kinds: Spec, result: RunResult) -> pd.DataFrame:
    return plot_data(kinds, result.estimates)


def test_columns(data: pd.DataFrame) -> None:
    assert list(data.columns) == [
        "table", "model", "model_label", "estimator", "term", "term_label",
        "estimate", "conf_low", "conf_high", "order", "position", "panel",
    ]  # fmt: skip


def test_numbers_are_the_estimates(data: pd.DataFrame, result: RunResult) -> None:
    estimates = result.estimates.set_index(["model", "term"])
    shown = data.set_index(["model", "term"])
    # One term is left out of the figure by the layout.
    assert set(shown.index) == {key for key in estimates.index if key[1] != "pvict"}
    for name in ("estimate", "conf_low", "conf_high"):
        np.testing.assert_array_equal(shown[name], estimates.loc[shown.index, name])


def test_a_term_has_a_line_for_each_model_that_holds_it(data: pd.DataFrame, kinds: Spec) -> None:
    order = [term for term in kinds.order if term != "pvict"]
    assert list(dict.fromkeys(data["term"])) == order
    keys = [m.key for m in kinds.models]
    top = 0.0
    for term in order:
        own = data[data["term"] == term]
        assert list(own["order"]) == [keys.index(model) for model in own["model"]]
        assert list(own["position"]) == pytest.approx([top + k for k in range(len(own))])
        top += len(own) + GAP
    assert set(data["panel"]) == {"all"}


TWINS = """
table: twins
title: Twins
defaults: {failure: withdraw, covariates: [foverlap, ctrend60]}
models:
  - {key: a1, label: One, group: Logit, estimator: logit}
  - {key: a2, label: Two, group: Logit, estimator: logit, covariates: [foverlap]}
  - {key: a3, label: Three, group: Logit, estimator: logit}
  - {key: a4, label: Four, group: Logit, estimator: logit}
  - {key: b1, label: One, group: Cloglog, estimator: cloglog}
  - {key: b2, label: Two, group: Cloglog, estimator: cloglog, covariates: [foverlap]}
  - {key: b3, label: Three, group: Cloglog, estimator: cloglog}
  - {key: b4, label: Four, group: Cloglog, estimator: cloglog}
"""


def twins(text: str = TWINS) -> pd.DataFrame:
    spec = load_spec(text.encode())
    rows = [("twins", m.key, t, k + 0.5, k - 1.0, k + 1.0) for k, m in enumerate(spec.models) for t in m.covariates]
    columns = ["table", "model", "term", "estimate", "conf_low", "conf_high"]
    return plot_data(spec, pd.DataFrame(rows, columns=columns))


def test_groups_of_many_models_stand_side_by_side() -> None:
    data = twins().set_index(["model", "term"])
    assert set(data["panel"]) == {"Logit", "Cloglog"}
    for name in ("order", "position"):
        for k in "1234":
            first, second = data.loc[f"a{k}", name], data.loc[f"b{k}", name]
            assert first.equals(second)
    assert list(data.loc[("a1", "ctrend60"), ["order", "position"]]) == [0, 4 + GAP]
    assert list(data.loc[("a3", "ctrend60"), ["order", "position"]]) == [2, 5 + GAP]
    figure = draw(twins(), "T", "N")
    left, right = figure.axes
    assert (left.get_title(), right.get_title()) == ("Logit", "Cloglog")
    assert "log odds ratio" in left.get_xlabel()
    assert "log hazard ratio" in right.get_xlabel()
    assert legend(figure) == ["One", "Two", "Three", "Four"]
    drawn = [
        [x for line in axes.lines if line.get_marker() in MARKERS for x in line.get_xdata()] for axes in (left, right)
    ]
    assert sorted(drawn[0] + drawn[1]) == sorted(data["estimate"])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("label: Four, group: Cloglog", "label: Fourth, group: Cloglog"),
        ("label: Four, group: Cloglog", "label: Four"),
        ("label: Four, group", "label: One, group"),
        ("  - {key: a4, label: Four, group: Logit, estimator: logit}\n  - {key: b1", "  - {key: b1"),
    ],
)
def test_groups_that_are_not_alike_stay_together(old: str, new: str) -> None:
    data = twins(TWINS.replace(old, new))
    assert set(data["panel"]) == {"all"}
    assert data["position"].is_unique
    assert len(draw(data, "T", "N").axes) == 1


def test_long_labels_have_the_room_they_need() -> None:
    labels = "labels: {foverlap: " + "word " * 23 + ", ctrend60: " + "term " * 23 + "}"
    data = twins(TWINS.partition("  - {key: a2")[0] + labels)
    lines = 4
    assert data["position"].iloc[1] - data["position"].iloc[0] == pytest.approx(LABEL * lines)
    figure = draw(data, "T", "N")
    figure.savefig(io.BytesIO(), format="png")
    first, second = (label.get_window_extent() for label in figure.axes[0].get_yticklabels())
    assert not first.overlaps(second)


def test_nothing_overlaps_and_all_is_on_the_page(data: pd.DataFrame) -> None:
    for shown in (data, twins()):
        figure = draw(shown, "A title", "A note. " * 30)
        figure.savefig(io.BytesIO(), format="png")
        page = figure.bbox
        (key,), (note,) = ([*figure.subfigs[1].legends], [*figure.subfigs[1].texts])
        parts = [key.get_window_extent(), note.get_window_extent()]
        parts += [axes.xaxis.get_tightbbox() for axes in figure.axes]
        for k, part in enumerate(parts):
            assert part.x0 >= page.x0 - 1
            assert part.x1 <= page.x1 + 1
            assert part.y0 >= page.y0 - 1
            assert not any(part.overlaps(other) for other in parts[:k])


def legend(figure: Any) -> list[str]:
    return [text.get_text() for key in figure.subfigs[1].legends for text in key.get_texts()]


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
    series = {line.get_gid(): line for line in axes.lines if line.get_marker() in MARKERS}
    assert series["model-4"].get_markerfacecolor() == look(4)[0]
    assert series["model-4"].get_marker() == look(4)[1]


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
    assert legend(figure) == ["Abandonment: Plain", "Abandonment: Efron", "Voluntary: Sample", "Coded"]


def test_one_model_needs_no_legend(data: pd.DataFrame) -> None:
    assert legend(draw(data[data["model"] == "plain"], "T", "N")) == []


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
        ("t", f"m{j}", f"Model {j}", "cox", f"v{k}", f"V{k}", j, j - 1.0, j + 1.0, j, 150.0 * k + j, "all")
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
        "panel",
    ]
    figure = draw(pd.DataFrame(rows, columns=names), "T", "N")
    assert figure.get_size_inches()[1] <= TALLEST
    assert legend(figure) == []


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
