"""What a shell is offered when a model's name is being typed."""

import typer

from client.address import find_url
from client.credentials import find_key
from client.errors import ClientError

MOST = 50


def complete_model(context: typer.Context, incomplete: str) -> list[str]:
    """Return the names and aliases that begin so; none where no registry answers within a second."""
    from client.registry import Registry

    try:
        with Registry(find_url(context.params.get("url")), key=find_key(), hurry=True) as registry:
            names = {name for model in registry.models() for name in (model["name"], *model["aliases"])}
    except ClientError:  # nobody reads a sentence between two presses of a key
        return []
    return sorted(name for name in names if name.startswith(incomplete))[:MOST]
