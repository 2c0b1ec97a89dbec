"""Who may call: tokens and roles, and no stranger's web page through a visitor's browser."""

from __future__ import annotations

import time
from collections.abc import Mapping
from hmac import compare_digest
from ipaddress import ip_address
from urllib.parse import urlsplit

from modelworks.access import tokens
from modelworks.access.allowance import Allowance, settle
from modelworks.core.clock import system_clock
from modelworks.core.errors import Denied, Invalid, Unknown
from modelworks.stores.ledger import Ledger

_REMEMBER = 5.0
"""Seconds for which a token's role is not looked up again; a revoked one is refused after at most that."""
_MOST = 10_000


def is_loopback(host: str) -> bool:
    """Whether a name or address means this machine alone."""
    if host in ("localhost", "testserver"):
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Guard:
    """Decides about every request but the probes.

    On loopback without any token everybody on the machine may do everything. As soon as there is a token, or
    the server listens elsewhere, callers must show one.

    Args:
        ledger: Where tokens are kept.
        host: The address listened on.
        token: One from the settings, with every right.

    Raises:
        Invalid: it listens beyond loopback and there is no token.
    """

    def __init__(self, ledger: Ledger, host: str, token: str = "") -> None:
        self.ledger = ledger
        self.host = host
        self.token = token
        self._known: dict[str, tuple[float, tokens.Token | None]] = {}
        self._allowances: dict[str, Allowance] = {}
        self._needed: tuple[float, bool] = (0.0, True)
        if not is_loopback(host) and not self.needed():
            raise Invalid(
                f"the server will not listen on {host} without a token",
                "everybody who reaches that address could do everything",
                "make one with 'modelworks token create NAME --role admin', or listen on 127.0.0.1",
            )

    def needed(self) -> bool:
        """Whether callers must show a token."""
        if self.token or not is_loopback(self.host):
            if self.token:
                return True
            with self.ledger.read() as db:
                return tokens.any_in_force(db)
        until, needed = self._needed
        if time.monotonic() > until:
            with self.ledger.read() as db:
                needed = tokens.any_in_force(db)
            self._needed = (time.monotonic() + _REMEMBER, needed)
        return needed

    def predict(self, authorization: bytes | None, model: str | None) -> Allowance | None:
        """Let a caller predict, or raise: see `serve.asgi.Authorize`."""
        if not self.needed():
            return None
        token = self.role(authorization, "caller")
        if model is not None and not token.covers(model):
            raise Denied(
                f"the token {token.name!r} may not ask the model {model!r}",
                f"it may ask {', '.join(token.models)}",
                "use another token",
            )
        mine = self._allowances.get(token.name)
        if mine is None or (mine.rate, mine.quota) != (token.rate, token.quota):
            mine = Allowance(token.name, token.rate, token.quota)
            if token.quota is not None:
                with self.ledger.read() as db:
                    mine.settled(0, settle(db, token.name, 0, system_clock()))
            self._allowances[token.name] = mine
        return mine

    def settle(self) -> None:
        """Write down what was spent of the days' requests, and learn what other servers have answered."""
        quotas = [one for one in list(self._allowances.values()) if one.quota is not None]
        if quotas:
            counted = [one.counted for one in quotas]
            with self.ledger.write() if any(counted) else self.ledger.read() as db:
                used = [
                    settle(db, one.caller, count, system_clock())
                    for one, count in zip(quotas, counted, strict=True)
                ]
            for one, count, all_used in zip(quotas, counted, used, strict=True):
                one.settled(count, all_used)

    def role(self, authorization: bytes | str | None, least: tokens.Role) -> tokens.Token:
        """The caller's token, if it gives at least the role `least`.

        Raises:
            Unknown: no token, an unknown or revoked one.
            Denied: too small a role.
        """
        text = authorization.decode("latin-1") if isinstance(authorization, bytes) else authorization or ""
        scheme, _, token = text.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unknown(
                "a token is needed",
                "the request has no 'Authorization: Bearer ...' header",
                "send your token",
            )
        if self.token and compare_digest(token.encode(), self.token.encode()):
            return tokens.Token("server.token", "admin")
        found = self._look_up(token.strip())
        if found is None:
            raise Unknown("the token is not known", "it is wrong or was revoked", "ask for a new one")
        if not tokens.allows(found.role, least):
            raise Denied(
                f"the token {found.name!r} may not do this",
                f"it is a {found.role}, a {least} is needed",
                "use another token",
            )
        return found

    def _look_up(self, token: str) -> tokens.Token | None:
        until, found = self._known.get(token, (0.0, None))
        if time.monotonic() > until:
            with self.ledger.read() as db:
                found = tokens.found(db, token)
            if len(self._known) >= _MOST:
                self._known.clear()
            self._known[token] = (time.monotonic() + _REMEMBER, found)
        return found

    def same_site(self, method: str, headers: Mapping[str, str]) -> None:
        """Refuse what a stranger's page makes a visitor's browser send to a server on loopback.

        Raises:
            Denied: the Host is another machine's name (DNS rebinding), or the Origin another site.
        """
        host = urlsplit(f"//{headers.get('host', '')}").hostname or ""
        if is_loopback(self.host) and not is_loopback(host):
            raise Denied(
                f"this server does not answer for {host[:100]!r}",
                "it listens on loopback only",
                "call it by 127.0.0.1",
            )
        origin = headers.get("origin")
        if method != "GET" and origin is not None and urlsplit(origin).netloc != headers.get("host"):
            raise Denied(
                "another site may not do this",
                f"the request comes from {origin[:100]!r}",
                "open the console itself",
            )


def guard_of(ledger: Ledger, host: str, token: str, open: bool) -> Guard:
    """The guard of a server; one that is `open` is guarded as on this machine alone, so only where there is a token.

    Raises:
        Invalid: it listens beyond loopback, is not open, and there is no token.
    """
    return Guard(ledger, "localhost" if open else host, token)
