"""What a job about one network on one comparison is about, read in one transaction."""

from dataclasses import dataclass

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from registry.jobs import Claim
from registry.tables import ComparisonRow, ImageSetRow, NetworkRow, ProtocolRow

# with every job: four reads one by one took four times as long
_SUBJECT = (
    select(NetworkRow, ImageSetRow, ProtocolRow)
    .select_from(NetworkRow)
    .join(ComparisonRow, ComparisonRow.id == bindparam("comparison"))
    .join(ImageSetRow, ImageSetRow.id == ComparisonRow.image_set_id)
    .join(ProtocolRow, ProtocolRow.id == ComparisonRow.protocol_id)
    .where(NetworkRow.id == bindparam("network"))
)


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
    asked = {"comparison": claimed.comparison_id, "network": claimed.network_id}
    network, image_set, protocol = session.execute(_SUBJECT, asked).one()
    return Subject(comparison_id=claimed.comparison_id, network=network, image_set=image_set, protocol=protocol)
