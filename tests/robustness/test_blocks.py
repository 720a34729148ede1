"""The YAML blocks: defaults, and what they refuse."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from coalition_exit.specs.robustness_blocks import Compensation, Influence, Uncertainty


@pytest.mark.parametrize("block", [Compensation, Influence, Uncertainty])
def test_an_empty_block_has_defaults(block) -> None:
    made = block.model_validate({})
    # What has no default is left out, not without content.
    assert block.model_validate(made.model_dump(exclude_none=True)) == made


def test_numbers_by_confidence() -> None:
    block = Uncertainty.model_validate({"flips": {"low": 0.4}, "dates": {"medium": 3}})
    assert (block.flips.high, block.flips.medium, block.flips.low) == (0.0, 0.05, 0.4)
    assert block.dates.medium == 3


@pytest.mark.parametrize(
    ("block", "entry", "part"),
    [
        (Uncertainty, {"drawz": 3}, "drawz"),
        (Uncertainty, {"draws": 1}, "draws"),
        (Uncertainty, {"draws": True}, "draws"),
        (Uncertainty, {"flips": {"low": 1.5}}, "low"),
        (Uncertainty, {"kinds": []}, "kinds"),
        (Uncertainty, {"kinds": ["exits", "exits"]}, "kinds"),
        (Uncertainty, {"kinds": ["weather"]}, "kinds"),
        (Uncertainty, {"attributes": ["mode"]}, "attributes"),
        (Compensation, {"shares": [0.2, 1.0]}, "shares"),
        (Compensation, {"shares": [0.2, 0.2]}, "shares"),
        (Compensation, {"bad_times": {"above": 0.1, "quantile": 0.9}}, "not both"),
        (Compensation, {"patterns": [{"key": "a", "where": "x > 1"}, {"key": "a", "where": "x > 2"}]}, "patterns"),
        (Compensation, {"simulation": {"begins": 0.9, "full": 0.5}}, "full to be above begins"),
        (Compensation, {"simulation": {"lasting": 30}}, "buyout only"),
        (Compensation, {"bound": 1.0}, "bound"),
        (Influence, {"readings": ["size"]}, "readings"),
        (Influence, {"exhaustive": 0}, "exhaustive"),
        (Influence, {"level": 0.0}, "level"),
    ],
)
def test_what_is_refused(block, entry, part) -> None:
    with pytest.raises(ValidationError, match=part):
        block.model_validate(entry)
