"""`sat map`, `sat importance`."""

from client.output import AsJson, ImageSetName, ProtocolName, Url, connect, console, print_json, say


def map_models(
    *, image_set: ImageSetName = None, protocol: ProtocolName = None, url: Url = None, as_json: AsJson = False
) -> None:
    """Show where each model lies in the plane: near ones are alike, far distances say nothing."""
    from client.tables.overview import map_table

    with connect(url) as registry:
        found = registry.map(image_set=image_set, protocol=protocol)
    if as_json:
        print_json(found)
        return
    console.print(map_table(found))
    if found["trustworthiness"] is not None:
        say(f"trustworthiness {found['trustworthiness']:.2f} (1: near on the map is near by SAT, 0.5: chance)")
    _say_age(stale=found["stale"], failure=found["failure"])
    if found["left_out"]:
        say(f"Left out: {', '.join(found['left_out'])}.")


def importance(
    *, image_set: ImageSetName = None, protocol: ProtocolName = None, url: Url = None, as_json: AsJson = False
) -> None:
    """Show which of the 13 architecture components go with SAT, and how far to trust that."""
    from client.tables.overview import importance_table

    with connect(url) as registry:
        found = registry.importance(image_set=image_set, protocol=protocol)
    if as_json:
        print_json(found)
        return
    console.print(importance_table(found))
    say(
        f"R2 {found['r2_new_models']:.2f} for models that the fit has not seen, {found['r2_new_pairs']:.2f} for unseen "
        f"pairs, {found['r2_fit']:.2f} on its own {found['pairs']} pairs of {found['models']} models"
    )
    _say_age(stale=found["stale"], failure=found["failure"])


def _say_age(*, stale: bool, failure: str | None) -> None:
    if failure:
        say(f"A newer one could not be computed: {failure}")
    elif stale:
        say("Computed before the newest pairs; ask again for a newer one.")
