"""``-k EXPR``: which scenarios to take, as pytest has it, and by value too.

``fedavg and not u-zeros``, ``partition.alpha=0.3 or strategy=local``: a word matches a scenario
whose name contains it, in any case; ``key=value`` matches a value as an ``exclude`` row does.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NoReturn

from bench.errors import SuiteError, UsageError
from bench.suites.document import read
from bench.suites.kinds import Mismatch
from bench.suites.matching import matcher
from bench.suites.scenario import Scenario

Predicate = Callable[[str, Scenario], bool]
"""From a scenario's name and values to whether it is taken."""

DEEPEST = 50
"""Levels of brackets and 'not'."""

_NESTED = r"[\[{][^\[\]{}]*[\]}]"
for _ in range(3):
    _NESTED = rf"[\[{{](?:[^\[\]{{}}]|{_NESTED})*[\]}}]"
"""A list or mapping, of up to four levels: label policies by site and observation have three."""

_TOKEN = re.compile(
    rf"""\s*(?:(?P<bracket>[()])
    | (?P<test>[A-Za-z_][^\s()=]*=(?:{_NESTED}|'[^']*'|"[^"]*"|[^\s()]*))
    | (?P<word>[^\s()=]+))""",
    re.VERBOSE,
)


def predicate(expression: str) -> Predicate:
    """The test that ``expression`` stands for; raises UsageError where it makes no sense."""
    parser = _Parser(expression)
    found = parser.alternatives(0)
    if parser.peek() is not None:
        parser.fail(f"'{parser.peek()}' stands where 'and', 'or' or the end was expected")
    return found


class _Parser:
    def __init__(self, expression: str) -> None:
        self.expression = expression
        self.tokens: list[str] = []
        at = 0
        while expression[at:].strip():
            match = _TOKEN.match(expression, at)
            if match is None:
                self.fail(f"'{expression[at:].strip()[:1]}' has nothing before it")
            self.tokens.append(match.group().strip())
            at = match.end()
        self.at = 0

    def peek(self) -> str | None:
        return self.tokens[self.at] if self.at < len(self.tokens) else None

    def take(self) -> str | None:
        token = self.peek()
        self.at += 1
        return token

    def alternatives(self, depth: int) -> Predicate:
        found = [self.conjunction(depth)]
        while self.peek() == "or":
            self.take()
            found.append(self.conjunction(depth))
        return lambda name, row: any(test(name, row) for test in found)

    def conjunction(self, depth: int) -> Predicate:
        found = [self.term(depth)]
        while self.peek() == "and":
            self.take()
            found.append(self.term(depth))
        return lambda name, row: all(test(name, row) for test in found)

    def term(self, depth: int) -> Predicate:
        if depth > DEEPEST:
            self.fail(f"it is nested more than {DEEPEST} levels deep")
        token = self.take()
        if token == "not":
            inner = self.term(depth + 1)
            return lambda name, row: not inner(name, row)
        if token == "(":
            inner = self.alternatives(depth + 1)
            if self.take() != ")":
                self.fail("a bracket is not closed")
            return inner
        if token is None:
            self.fail("it ends where a word or 'key=value' was expected")
        if token in (")", "and", "or"):
            self.fail(f"'{token}' stands where a word or 'key=value' was expected")
        return self.test(token) if "=" in token else _contains(token)

    def test(self, token: str) -> Predicate:
        key, _, text = token.partition("=")
        try:
            name, matches = matcher(key, read(text, "the value").data)
        except Mismatch as bad:
            raise UsageError(
                bad.what or f"'{key}' cannot have that value",
                where=f"-k {self.expression}",
                expected=bad.expected,
                found=bad.found,
                mend=bad.mend,
            ) from None
        except SuiteError as bad:
            self.fail(f"{text!r}: {bad.what}")
        return lambda _, row: matches(getattr(row, name))

    def fail(self, reason: str) -> NoReturn:
        raise UsageError(
            "the expression cannot be read",
            where=f"-k {self.expression}",
            expected="words and key=value, joined by 'and', 'or', 'not' and brackets",
            found=reason,
            mend="-k 'fedavg and not u-zeros', or -k 'strategy=fedavg'",
        )


def _contains(word: str) -> Predicate:
    lowered = word.lower()
    return lambda name, _: lowered in name.lower()
