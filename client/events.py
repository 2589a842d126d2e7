"""Server-sent events, taken apart line by line (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

import json
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    """One event: its kind, its id ("" without one), and its JSON."""

    kind: str
    id: str
    data: Any


@dataclass(slots=True)
class EventParser:
    """Takes lines without their ends, gives an event after the empty line that closes it."""

    _fields: dict[str, str] = field(default_factory=dict)
    _data: list[str] = field(default_factory=list)

    def take(self, line: str) -> Event | None:
        """Return the event that this line completes; None while one is coming, and for keep-alives."""
        if line:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "data":
                self._data.append(value)
            else:
                self._fields[name] = value
            return None
        fields, data = self._fields, self._data
        self._fields, self._data = {}, []
        if not data:
            return None
        return Event(fields.get("event", "message"), fields.get("id", ""), json.loads("\n".join(data)))
