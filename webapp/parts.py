"""What views work with. create_app puts one Parts into each app; `parts()` finds it during a request."""

from dataclasses import dataclass

from flask import current_app

from shared.connections import Connections
from shared.settings import WebSettings
from webapp.auth.accounts import Accounts
from webapp.auth.api_tokens import ApiTokens
from webapp.auth.throttle import Throttle
from webapp.auth.tokens import Tokens
from webapp.images.resolver import Resolver
from webapp.metrics import Metrics
from webapp.progress import Progress
from webapp.statuses import Statuses
from webapp.streams.hub import Hub
from webapp.streams.relays import Relays
from webapp.streams.tunnels import Tunnels
from webapp.templates import Templates

NAME = "simyard"


@dataclass(frozen=True)
class Parts:
    """The doors, and the little that web keeps in memory."""

    settings: WebSettings
    connections: Connections
    accounts: Accounts
    tokens: Tokens
    api_tokens: ApiTokens
    throttle: Throttle
    templates: Templates
    images: Resolver
    statuses: Statuses
    hub: Hub
    progress: Progress
    relays: Relays
    tunnels: Tunnels
    metrics: Metrics

    def close(self) -> None:
        """End every stream, write down the last progress. The doors are closed by whoever opened them."""
        self.hub.close()
        self.relays.close()
        self.tunnels.close()
        self.progress.close()


def parts() -> Parts:
    """Those of the app that answers the current request."""
    found: Parts = current_app.extensions[NAME]
    return found
