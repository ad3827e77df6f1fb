"""Label policies as suites write them: one for everybody, one a client, or one a site."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from bench.errors import SuiteError, did_you_mean
from bench.observations import OBSERVATIONS
from bench.suites.catalog import LABEL_POLICIES
from bench.suites.kinds import Mismatch, Word
from bench.suites.wording import enumerated, shown

OTHERS = "others"
"""In a mapping of label policies: the policy of every observation, or site, that is not named."""
SITES = "sites"
"""The key of a mapping from sites to their policies."""

Policies = tuple[tuple[str, str], ...]
"""(observation, policy); as written an observation may be ``others``."""


@dataclass(frozen=True, slots=True)
class PerClient:
    """Each client's own policies, the first client's first."""

    entries: tuple[Policies, ...]


@dataclass(frozen=True, slots=True)
class PerSite:
    """Each site's own policies; a site may be ``others``."""

    entries: tuple[tuple[str, Policies], ...]
    """In alphabetical order of the sites."""


LabelPolicy = Policies | PerClient | PerSite

SELF_TRAINED = "u-selftrained"
SHARED = {
    "u-multiclass": "has outputs of its own in the network",
    SELF_TRAINED: "needs a second training",
}
"""Policies that all clients must have in common, and why."""

_POLICY = Word(tuple(LABEL_POLICIES))


def policy_sets(value: LabelPolicy) -> tuple[Policies, ...]:
    """Every set of policies in the value: one where it is everybody's."""
    if isinstance(value, PerClient):
        return value.entries
    if isinstance(value, PerSite):
        return tuple(policies for _, policies in value.entries)
    return (value,)


def trains_twice(value: LabelPolicy) -> bool:
    """Whether any observation is self-trained, which takes a second training."""
    return any(policy == SELF_TRAINED for one in policy_sets(value) for _, policy in one)


def policy_row(value: LabelPolicy) -> Any:
    """The value as run.json keeps it: a mapping, a list of mappings, or ``{sites: mapping}``."""
    if isinstance(value, PerClient):
        return [dict(policies) for policies in value.entries]
    if isinstance(value, PerSite):
        return {SITES: {site: dict(policies) for site, policies in value.entries}}
    return dict(value)


def policy_from_row(row: Any) -> LabelPolicy:
    """The inverse of :func:`policy_row`."""
    if isinstance(row, list):
        return PerClient(tuple(tuple(policies.items()) for policies in row))
    if SITES in row:
        pairs = ((site, tuple(policies.items())) for site, policies in row[SITES].items())
        return PerSite(tuple(sorted(pairs)))
    return tuple(row.items())


def policies_of(value: LabelPolicy, clients: Sequence[str]) -> list[Policies]:
    """The policies of each client, in order; ``clients`` are their names.

    Raises SuiteError where policies are by site and the clients are other sites.
    """
    if isinstance(value, PerClient):
        assert len(value.entries) == len(clients), "checked when the suite was read"
        return list(value.entries)
    if not isinstance(value, PerSite):
        return [value] * len(clients)
    given = dict(value.entries)
    unknown = [site for site in given if site not in clients and site != OTHERS]
    without = [name for name in clients if name not in given and OTHERS not in given]
    if unknown or without:
        raise SuiteError(
            f"the label policies by site are for other sites than the {len(clients)} clients",
            expected=f"policies for {', '.join(clients)}, or '{OTHERS}' for the rest",
            found=f"unknown: {', '.join(unknown)}" if unknown else f"none for {', '.join(without)}",
            mend=did_you_mean(unknown[0], list(clients)) if unknown else f"add '{without[0]}'",
        )
    return [given[name] if name in given else given[OTHERS] for name in clients]


@dataclass(frozen=True, slots=True)
class LabelPolicies:
    """One policy, or a mapping from observations (and ``others``) to policies; a list of these,
    one a client; or ``{sites: …}``, a mapping from sites (and ``others``) to these."""

    def read(self, value: Any) -> LabelPolicy:
        """Pairs as written, sorted; one policy is that of ``others``. Raises Mismatch."""
        if isinstance(value, list):
            if not value:
                raise Mismatch(expected=self.words(), found="a list with nothing in it")
            return PerClient(tuple(self._part(one, index) for index, one in enumerate(value)))
        if isinstance(value, dict) and SITES in value:
            return self._sites(value)
        return self._single(value)

    def _sites(self, value: dict[Any, Any]) -> PerSite:
        odd = [key for key in value if key != SITES]
        if odd:
            raise Mismatch(
                what=f"'{SITES}' stands alone in a label policy",
                expected=f"what holds for every site inside '{SITES}', as '{OTHERS}'",
                found=f"{shown(odd[0])} beside it",
                path=(odd[0],),
                on_key=True,
            )
        sites = value[SITES]
        if not isinstance(sites, dict) or not sites:
            raise Mismatch(
                expected="a mapping from sites to label policies", found=shown(sites), path=(SITES,)
            )
        return PerSite(
            tuple((site, self._part(one, SITES, site)) for site, one in sorted(sites.items()))
        )

    def _part(self, value: Any, *path: str | int) -> Policies:
        try:
            return self._single(value)
        except Mismatch as bad:
            raise bad.under(*path) from None

    def _single(self, value: Any) -> Policies:
        if not isinstance(value, dict):
            if isinstance(value, str):
                return ((OTHERS, _POLICY.read(value)),)
            raise Mismatch(expected=self.words(), found=shown(value))
        if not value:
            raise Mismatch(expected=self.words(), found="a mapping with nothing in it")
        pairs = []
        for name, policy in value.items():
            if name != OTHERS and name not in OBSERVATIONS:
                raise unknown_observation(name, name, on_key=True)
            try:
                pairs.append((name, _POLICY.read(policy)))
            except Mismatch as bad:
                raise bad.under(name) from None
        return tuple(sorted(pairs))

    def words(self) -> str:
        return (
            f"{_POLICY.words()}; or a mapping from observations to these; or a list of either, one "
            f"a client, or {{{SITES}: …}}, a mapping from sites"
        )

    def schema(self) -> dict[str, Any]:
        mapping = {
            "type": "object",
            "properties": self.parts(),
            "additionalProperties": False,
            "minProperties": 1,
        }
        single = [_POLICY.schema(), mapping]
        by_client = {"type": "array", "items": {"anyOf": single}, "minItems": 1}
        by_site = {
            "type": "object",
            "properties": {
                SITES: {
                    "type": "object",
                    "additionalProperties": {"anyOf": single},
                    "minProperties": 1,
                }
            },
            "required": [SITES],
            "additionalProperties": False,
        }
        return {"anyOf": [*single, by_client, by_site]}

    def parts(self) -> dict[str, dict[str, Any]]:
        return {name: _POLICY.schema() for name in (*OBSERVATIONS, OTHERS)}

    def patched(self, value: Any, part: str, new: Any) -> Any:
        """The part is replaced for every client, or site."""
        if isinstance(value, list):
            return [self.patched(one, part, new) for one in value]
        if isinstance(value, dict) and SITES in value:
            sites = value[SITES]
            return {SITES: {site: self.patched(one, part, new) for site, one in sites.items()}}
        whole = value if isinstance(value, dict) else {OTHERS: value}
        return {**whole, part: new}


def unknown_observation(name: Any, part: str | int, *, on_key: bool = False) -> Mismatch:
    """The refusal of a name that is no observation's."""
    return Mismatch(
        what=f"unknown observation {shown(name)}",
        expected=enumerated(OBSERVATIONS),
        mend=did_you_mean(name, OBSERVATIONS) if isinstance(name, str) else None,
        path=(part,),
        on_key=on_key,
    )


def resolve_policies(written: LabelPolicy, observations: tuple[str, ...]) -> LabelPolicy:
    """The same with a policy for every observation trained on; raises Mismatch."""
    if isinstance(written, PerClient):
        return PerClient(
            tuple(_resolved(one, observations, i) for i, one in enumerate(written.entries))
        )
    if isinstance(written, PerSite):
        return PerSite(
            tuple((s, _resolved(one, observations, SITES, s)) for s, one in written.entries)
        )
    return _resolved(written, observations)


def _resolved(written: Policies, observations: tuple[str, ...], *path: str | int) -> Policies:
    try:
        return _resolve(written, observations)
    except Mismatch as bad:
        raise bad.under(*path) from None


@cache
def _resolve(written: Policies, observations: tuple[str, ...]) -> Policies:
    given = dict(written)
    for name in given:
        if name != OTHERS and name not in observations:
            raise Mismatch(
                what=f"a label policy for '{name}', which is not trained on",
                expected=f"observations among {enumerated(observations)}",
                mend="leave it out, or add it to 'observations'",
                path=(name,),
                on_key=True,
            )
    missing = [name for name in observations if name not in given and OTHERS not in given]
    if missing:
        raise Mismatch(
            what=f"no label policy for {enumerated(missing).replace(' or ', ' and ')}",
            expected="one for every observation that is trained on",
            mend=f"name them, or add '{OTHERS}: u-ones'",
        )
    return tuple((name, given.get(name) or given[OTHERS]) for name in observations)


def settle_policies(value: LabelPolicy, scenario: Mapping[str, Any]) -> LabelPolicy:
    """Resolved policies held against the scenario's other values; one for all where all agree.

    Raises Mismatch where a client's own policy has no client to be of, or cannot differ.
    """
    if not isinstance(value, PerClient | PerSite):
        return value
    strategy, partition, clients = (scenario[k] for k in ("strategy", "partition", "clients"))
    if strategy.name == "centralized":
        raise Mismatch(
            what="centralized has no clients that could have label policies of their own",
            expected="one label policy, or a mapping from observations",
            mend="give the centralised scenario a row of its own under 'include', with one policy; "
            "to run a scenario for each policy, list them under 'grid'",
        )
    if isinstance(value, PerClient) and len(value.entries) != clients:
        raise Mismatch(
            what="a list of label policies has one for each client",
            expected=f"{clients} label policies",
            found=f"{len(value.entries)}",
            mend=f"set 'clients: {len(value.entries)}', or give {clients}; to run a scenario for "
            "each policy, list them under 'grid'",
        )
    if isinstance(value, PerSite) and partition.name != "natural":
        raise Mismatch(
            what="label policies by site need clients that are sites",
            expected="'partition: {name: natural, column: site}', or another column",
            found=f"partition: {partition.name}",
            mend="change the partition, or give a list with one policy for each client",
        )
    _check_shared(value)
    everybody = isinstance(value, PerClient) or OTHERS in dict(value.entries)
    distinct = set(policy_sets(value))
    return distinct.pop() if everybody and len(distinct) == 1 else value


def _check_shared(value: PerClient | PerSite) -> None:
    """Refuses policies that shape the network or the training and are not everybody's."""
    sets = policy_sets(value)
    for observation, *policies in zip(
        [name for name, _ in sets[0]], *([policy for _, policy in one] for one in sets), strict=True
    ):
        distinct = list(dict.fromkeys(policies))
        for policy, reason in SHARED.items():
            if policy in distinct and len(distinct) > 1:
                others = enumerated([other for other in distinct if other != policy])
                raise Mismatch(
                    what=f"{policy} {reason}, so no client can be without it",
                    expected=f"{policy} for '{observation}' at every client, or at none",
                    found=f"'{observation}' is {policy} for some clients, {others} for others",
                    mend=f"give '{observation}' one policy for all, or others than {policy}",
                )
