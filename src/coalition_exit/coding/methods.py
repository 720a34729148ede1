"""The methods that rules may name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from coalition_exit.coding import outcomes, partners, states, trends
from coalition_exit.coding.history import Floats, History
from coalition_exit.coding.rules import Rule

METHODS: Mapping[str, Callable[..., Floats]] = {
    "aim": states.aim,
    "any_partner_bound": partners.any_partner_bound,
    "coalition_history": partners.coalition_history,
    "coalition_trend": trends.coalition_trend,
    "common_front": partners.common_front,
    "contribution": partners.contribution,
    "democracy": states.democracy,
    "entry_fact": outcomes.entry_fact,
    "exit_causes": outcomes.exit_causes,
    "exits": outcomes.exits,
    "exits_and_pullbacks": outcomes.exits_and_pullbacks,
    "importance": partners.importance,
    "late_joiner": partners.late_joiner,
    "log_deaths": trends.log_deaths,
    "new_leader": states.new_leader,
    "own_trend": trends.own_trend,
    "polity": states.polity,
    "recent_exit": partners.recent_exit,
    "relative_capabilities": partners.relative_capabilities,
    "share_of_partners_bound": partners.share_of_partners_bound,
}


def apply_rule(rule: Rule, history: History) -> tuple[Floats, ...]:
    """Compute a variable for every war: one array (M, T) each, in the order of ``history.wars``."""

    def compute() -> tuple[Floats, ...]:
        method = METHODS[rule.method]
        return tuple(method(history, war, **rule.parameters) for war in history.wars)

    return history.once(("rule", *rule.identity), compute)
