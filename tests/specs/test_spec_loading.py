"""Good specifications: what they come to."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from coalition_exit.errors import SpecError
from coalition_exit.specs.exhibits import load_exhibit
from coalition_exit.specs.loading import Spec, article_specs, load_spec

HEAD = "table: t\ntitle: T\ndefaults:\n  failure: withdraw\n  covariates: [foverlap, ctrend60]\n"
PLAIN = HEAD + "models:\n  - key: a\n"


def load(text: str) -> Spec:
    return load_spec(text.encode(), "file.yaml")


def model(lines: str, defaults: str = "") -> object:
    return load(
        HEAD + defaults + "models:\n  - key: a\n" + "".join(f"    {line}\n" for line in lines.splitlines())
    ).models[0]


def test_defaults_of_the_format() -> None:
    spec = load(PLAIN)
    only = spec.models[0]
    assert (only.label, only.group, only.estimator, only.ties) == ("a", "", "cox", "breslow")
    assert (only.errors.type, only.errors.by, only.errors.correction) == ("cluster", "coalid", "stata")
    assert spec.stats == ("n_obs", "n_subject", "n_event", "n_cluster")
    assert spec.order == ("foverlap", "ctrend60")
    assert (spec.data, spec.note, spec.description, spec.omit_from_figure) == ("auto", "", "", ())
    assert spec.label_of("foverlap") == "Common Front"
    assert spec.label_of("nothing") == "nothing"
    assert only.place == "file.yaml, line 7 > models[1]"


def test_crlf_bom_and_no_last_newline_change_nothing() -> None:
    raw = PLAIN.encode()
    plain = load_spec(raw)
    for other in (raw.replace(b"\n", b"\r\n"), b"\xef\xbb\xbf" + raw, b"\xef\xbb\xbf" + raw.replace(b"\n", b"\r\n")):
        again = load_spec(other)
        assert again.sha256 == plain.sha256
        assert again.models[0].covariates == plain.models[0].covariates
    assert load_spec(raw.rstrip()).models[0].covariates == plain.models[0].covariates
    assert load_spec(raw + b"# more\n").sha256 != plain.sha256


def test_lines_are_right_in_a_file_with_crlf() -> None:
    with pytest.raises(SpecError, match=r"line 8 > models\[1\] > ties"):
        load_spec((PLAIN + "    ties: nix\n").replace("\n", "\r\n").encode(), "f")


def test_words_that_yaml_1_1_takes_for_booleans_are_text() -> None:
    spec = load(PLAIN + "    label: no\n    coding: {withdraw: {unclear_partners_wish: yes}}\nlabels: {foverlap: on}\n")
    assert spec.models[0].label == "no"
    assert spec.models[0].coding["withdraw"].parameters["unclear_partners_wish"] == "yes"
    assert spec.label_of("foverlap") == "on"


def test_dates_octals_and_sexagesimals_are_not_guessed() -> None:
    spec = load(PLAIN + "labels: {foverlap: 2020-01-01, ctrend60: 12:30:00}\n")
    assert spec.labels == {"foverlap": "2020-01-01", "ctrend60": "12:30:00"}
    assert (
        load(PLAIN + "    coding: {ctrend60: {window: 010}}\n").models[0].coding["ctrend60"].parameters["window"] == 10
    )
    assert (
        load(PLAIN + "    coding: {foverlap: {alone: 1e-1}}\n").models[0].coding["foverlap"].parameters["alone"] == 0.1
    )


def test_anchors_may_be_used() -> None:
    spec = load(HEAD + "models:\n  - key: a\n    coding: &c {foverlap: {alone: 1}}\n  - key: b\n    coding: *c\n")
    assert spec.models[0].coding["foverlap"] == spec.models[1].coding["foverlap"]
    merged = load(HEAD + "models:\n  - &m {key: a, ties: efron}\n  - {<<: *m, key: b}\n")
    assert [m.ties for m in merged.models] == ["efron", "efron"]


@pytest.mark.parametrize("key", ["label", "group", "add", "drop", "replace", "sample", "coding", "ties", "errors"])
def test_a_key_of_a_model_without_content_is_refused(key: str) -> None:
    with pytest.raises(SpecError, match=rf" > models\[1\] > {key}: expected .*, got nothing$"):
        load(f"{PLAIN}    {key}:\n")


@pytest.mark.parametrize("key", ["labels", "layout", "description", "data", "rules", "section"])
def test_a_key_at_the_top_without_content_is_refused(key: str) -> None:
    with pytest.raises(SpecError, match=rf" > {key}: expected .*, got nothing$"):
        load(f"{PLAIN}{key}:\n")


@pytest.mark.parametrize(
    ("lines", "covariates"),
    [
        ("add: [pvict]", ("foverlap", "ctrend60", "pvict")),
        ("drop: [foverlap]", ("ctrend60",)),
        ("replace: {ctrend60: otrend60}", ("foverlap", "otrend60")),
        ("replace: {foverlap: ctrend60, ctrend60: foverlap}", ("ctrend60", "foverlap")),
        ("replace: {ctrend60: ctrend30}\nadd: [ctrend60]", ("foverlap", "ctrend30", "ctrend60")),
        ("drop: [foverlap]\nadd: [foverlap]", ("ctrend60", "foverlap")),
        ("covariates: [pvict]", ("pvict",)),
        ("covariates: [year, side, spell, month, day]", ("year", "side", "spell", "month", "day")),
        ("covariates: []\nadd: [pvict]", ("pvict",)),
    ],
)
def test_covariates_one_by_one(lines: str, covariates: tuple[str, ...]) -> None:
    assert model(lines).covariates == covariates  # type: ignore[attr-defined]


def test_a_models_own_value_takes_the_place_of_the_default() -> None:
    defaults = "  sample: [side == 1]\n  ties: efron\n  errors: {by: warnum, correction: none}\n"
    inherited = model("label: x", defaults)
    assert [e.text for e in inherited.sample] == ["side == 1"]  # type: ignore[attr-defined]
    assert (inherited.ties, inherited.errors.by) == ("efron", "warnum")  # type: ignore[attr-defined]
    own = model("sample: [side == 2, year > 1900]\nties: breslow\nerrors: {correction: stata}", defaults)
    assert [e.text for e in own.sample] == ["side == 2", "year > 1900"]  # type: ignore[attr-defined]
    assert own.ties == "breslow"  # type: ignore[attr-defined]
    # What the model's errors leave out is not set back behind the user's back.
    assert (own.errors.by, own.errors.correction) == ("warnum", "stata")  # type: ignore[attr-defined]


def test_model_based_errors_need_no_cluster() -> None:
    assert model("errors: {type: model}").variables == ["withdraw", "foverlap", "ctrend60"]  # type: ignore[attr-defined]


def test_coding_of_defaults_and_model_is_joined_by_variable() -> None:
    defaults = "  coding: {foverlap: {alone: 1}, ctrend60: {window: 90}}\n"
    only = model("coding: {foverlap: {no_troops: 1}}", defaults)
    changed = {"measure": "share", "min_partner_share": 0.0, "alone": 0.0, "no_troops": 1}
    assert dict(only.coding["foverlap"].parameters) == changed  # type: ignore[attr-defined]
    assert only.coding["ctrend60"].parameters["window"] == 90  # type: ignore[attr-defined]
    assert set(only.choices) == {"foverlap", "ctrend60"}  # type: ignore[attr-defined]


def test_default_coding_that_only_one_model_uses() -> None:
    spec = load(
        HEAD
        + "  coding: {pvict: {}, recexit: {window: 90}}\nmodels:\n  - {key: a, add: [pvict]}\n  - {key: b, add: [recexit]}\n"
    )
    assert [sorted(m.choices) for m in spec.models] == [["pvict"], ["recexit"]]
    assert "recexit" not in spec.models[0].coding


def test_a_variable_of_ones_own() -> None:
    only = model("add: [left_last_year]\ncoding: {left_last_year: {rule: article_recent_exit, window: 365}}")
    assert only.coding["left_last_year"].parameters["window"] == 365  # type: ignore[attr-defined]
    outcome = model("failure: left\ncoding: {left: {rule: article_withdraw, where: 'choice == \"own\"'}}")
    assert outcome.failure == "left"  # type: ignore[attr-defined]
    assert outcome.coding["left"].method == "exits"  # type: ignore[attr-defined]


def test_a_choice_used_by_a_filter_alone_counts_as_used() -> None:
    only = model("sample: [recexit == 0]\ncoding: {recexit: {window: 90}}")
    assert set(only.choices) == {"recexit"}  # type: ignore[attr-defined]
    assert only.variables == ["withdraw", "foverlap", "ctrend60", "coalid", "recexit"]  # type: ignore[attr-defined]
    assert only.estimation_columns == ["withdraw", "foverlap", "ctrend60", "coalid"]  # type: ignore[attr-defined]


def test_labels_and_titles_come_on_one_line() -> None:
    spec = load(
        PLAIN.replace("title: T", "title: |\n  Two\n  lines") + "labels:\n  foverlap: >\n    Common\n    Front\n"
    )
    assert spec.title == "Two lines"
    assert spec.label_of("foverlap") == "Common Front"


def test_order_of_rows() -> None:
    spec = load(
        HEAD + "models:\n  - {key: a, add: [pvict]}\n  - {key: b, add: [imptce]}\nlayout: {order: [imptce, foverlap]}\n"
    )
    assert spec.order == ("imptce", "foverlap", "ctrend60", "pvict")


def test_a_specification_cannot_be_changed() -> None:
    spec = load(PLAIN)
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.title = "other"  # type: ignore[misc]
    with pytest.raises(TypeError):
        spec.models[0].coding["foverlap"] = None  # type: ignore[index]


def test_table_names_at_their_limits() -> None:
    for name in ("a", "0a", "A-b_c", "x" * 80, "console", "com10x"):
        assert load(PLAIN.replace("table: t", f"table: '{name}'")).table == name


def test_the_article() -> None:
    specs = {spec.table: spec for spec in map(load_exhibit, article_specs()) if isinstance(spec, Spec)}
    keys = {name: [m.key for m in spec.models] for name, spec in specs.items()}
    assert keys["table1"] == ["wd_coalition", "wd_own", "vol_coalition", "vol_own"]
    assert keys["table2"] == ["controls", "full", "voluntary", "ally_relations", "no_world_wars"]
    full = next(m for m in specs["table2"].models if m.key == "full")
    assert full.covariates == ("foverlap", "ctrend60", "pvict", "imptce", "recexit", "demdum", "newlead", "sepdum")
    assert not any(m.choices for spec in specs.values() for m in spec.models)


def test_a_path_may_be_text_or_path(tmp_path: Path) -> None:
    path = tmp_path / "größe und mehr.yaml"
    path.write_text(PLAIN, encoding="utf-8")
    assert load_spec(path).sha256 == load_spec(str(path)).sha256 == load(PLAIN).sha256
    assert load_spec(path).path == str(path)
