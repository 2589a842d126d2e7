"""GET /similar: the pairs' rows, nothing else, in the promised order."""

from sat_engine.scores import score


def test_neighbours_are_the_pairs_rows_by_brute_force(api, zoo) -> None:
    for name, network in zoo.networks.items():
        expected = []
        for other, other_network in zoo.networks.items():
            if other == name:
                continue
            counts, _ = zoo.counts(network, other_network)
            expected.append((-score(counts).sat, other, counts))
        answer = api.get(f"/similar/{name}?k=200").json()
        assert [item["model"] for item in answer["items"]] == [
            other for _, other, _ in sorted(expected, key=lambda e: e[:2])
        ]
