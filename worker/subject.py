"""What a job about one network on one comparison is about, read in one transaction."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from registry.jobs import Claim
from registry.tables import ComparisonRow, ImageSetRow, NetworkRow, ProtocolRow


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """A network, and the comparison that it is measured on."""

    comparison_id: int
    network: NetworkRow
    image_set: ImageSetRow
    protocol: ProtocolRow


def read_subject(session: Session, claimed: Claim) -> Subject:
    """The subject of an evaluate, attack or transfers job."""
    assert claimed.network_id is not None
    assert claimed.comparison_id is not None
    comparison = session.get_one(ComparisonRow, claimed.comparison_id)
    return Subject(
        comparison_id=comparison.id,
        network=session.get_one(NetworkRow, claimed.network_id),
        image_set=session.get_one(ImageSetRow, comparison.image_set_id),
        protocol=session.get_one(ProtocolRow, comparison.protocol_id),
    )
