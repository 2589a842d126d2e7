"""Uploads: multipart forms read piece by piece, the file straight to disk, never whole in memory."""

import json
import logging
import os
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, TypeVar

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ValidationError
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from api.bodies import LARGE_BYTES, Take, require_few_openings, taking
from api.problems import MAX_CHARACTERS, invalid
from api.services import Services
from registry.errors import InvalidError, StorageFullError, TooLargeError, UnavailableError, UnsupportedError
from registry.sources import copy_source
from registry.storage.artifacts import ArtifactStore
from registry.storage.disk import is_full
from sat_engine.errors import CheckpointError
from sat_engine.io.formats import CheckpointFormat, format_of
from sat_engine.io.tensors import read_header

_log = logging.getLogger(__name__)
Declared = TypeVar("Declared", bound=BaseModel)
METADATA = "metadata"
MAX_METADATA_BYTES = LARGE_BYTES
# boundaries, part headers and metadata beside the file
OVERHEAD_BYTES = MAX_METADATA_BYTES + 64 * 2**10
WRITE_BYTES = 2**20
# Sixteen files that come at once take at most 256 MiB between two looks at the disk.
ROOM_BYTES = 16 * 2**20
MAX_BOUNDARY_BYTES = 70  # RFC 2046
# A text becomes objects of ten times its size: long ones are parsed one after the other.
LONG_BYTES = 64 * 2**10
_PARSING = threading.Lock()
# what the file is instead of safetensors, and what to do
_NOT_TENSORS = {
    CheckpointFormat.PYTORCH: "this is a PyTorch .pth file, which is taken for models alone: save it as safetensors.",
    CheckpointFormat.PICKLE: (
        "this is a pickle, which can run code when it is loaded, and not one of torch.save: save the weights with "
        "torch.save(model.state_dict(), path), or as safetensors, and send that."
    ),
    CheckpointFormat.ARCHIVE: (
        "this is a zip archive (as .npz files are), and not one of torch.save: save the tensors as safetensors, and "
        "send that; `sat images import` converts .npz image sets."
    ),
}


@dataclass(frozen=True, slots=True)
class Upload:
    """A form's metadata, as it was sent, and its file on disk."""

    metadata: bytes
    file: Path


@asynccontextmanager
async def receive_upload(request: Request, services: Services, *, name: str) -> AsyncIterator[Upload]:
    """Read the form's `metadata` and the file field `name`; the file is removed at the end.

    Raises UnsupportedError for other bodies, TooLargeError beyond the limit that the operator set without reading the
    rest, InvalidError for a form that is cut short or lacks a field, StorageFullError when the disk takes no more.
    """
    limit = services.settings.max_upload_bytes
    boundary = _boundary(request, name)
    announced = int(request.headers.get("content-length", 0))
    if announced > limit + OVERHEAD_BYTES:
        raise too_large(limit)
    with _disk():  # before gigabytes are sent
        await run_in_threadpool(services.store.require_room, announced, services.sessions)
    with _temporary(services.store) as (path, file):
        form = _Form(name, file, limit, taking(request.scope))
        parser = MultipartParser(boundary, form.callbacks())  # type: ignore[arg-type]  # its own dict type, by key
        try:
            room = Room(services)
            async for chunk in request.stream():
                await room.take(len(chunk))
                parser.write(chunk)
                if len(form.unwritten) >= WRITE_BYTES:
                    await run_in_threadpool(form.write)
        except MultipartParseError as error:
            raise InvalidError("the body is no valid multipart form: let your HTTP client build it.") from error
        await run_in_threadpool(form.write)
        yield Upload(form.checked_metadata(), path)


@contextmanager
def copied_source(services: Services, key: str) -> Iterator[Path]:
    """A copy of the operator's file that the key names (registry/sources.py); it is removed at the end."""
    with _temporary(services.store) as (path, file):
        with _disk():
            copy_source(
                services.settings.sources, key, file, services.settings.max_upload_bytes, Room(services).take_now
            )
        yield path


def parse_metadata(kind: type[Declared], text: bytes, what: str = f"`{METADATA}`") -> Declared:
    """The declaration in the text; InvalidError lists what is wrong with it. A long one belongs into a thread."""
    require_few_openings(text)
    with _PARSING if len(text) > LONG_BYTES else nullcontext():
        parsed = _parse(kind, text, what)
    if isinstance(parsed, InvalidError):  # raised here, it holds nothing of what was parsed
        raise parsed
    return parsed


def _parse(kind: type[Declared], text: bytes, what: str) -> Declared | InvalidError:
    try:
        # not model_validate_json: its errors hold the whole text once more
        return kind.model_validate(json.loads(text))
    except ValidationError as error:
        return invalid(what, error.errors(include_url=False, include_context=False, include_input=False))
    except (ValueError, RecursionError) as error:
        return InvalidError(f"{what} is no valid JSON: {error}."[:MAX_CHARACTERS])


def check_checkpoint(path: Path) -> None:
    """InvalidError with the reason, unless the file is whole safetensors or of torch.save, which `prepare` converts."""
    if format_of(path) is not CheckpointFormat.PYTORCH:
        check_tensors(path)


def check_tensors(path: Path) -> None:
    """InvalidError with the reason, unless the file is a whole safetensors file that holds tensors."""
    try:
        with _PARSING:
            tensors = read_header(path)
    except CheckpointError as error:
        raise InvalidError(_NOT_TENSORS.get(format_of(path), f"{error}.")) from error
    if not tensors:
        raise InvalidError("the safetensors file holds no tensor: save the model's state_dict() into it.")


def _boundary(request: Request, name: str) -> bytes:
    content_type, options = parse_options_header(request.headers.get("content-type", ""))
    if content_type != b"multipart/form-data":
        raise UnsupportedError(
            f"send a multipart form with the fields `{METADATA}` (JSON) and `{name}` (a file), not "
            f"{content_type.decode(errors='replace') or 'an untyped body'}: curl does it with -F."
        )
    boundary = options.get(b"boundary", b"")
    if not 0 < len(boundary) <= MAX_BOUNDARY_BYTES:
        raise InvalidError("the multipart content type lacks a usable boundary: let your HTTP client build it.")
    return boundary


@contextmanager
def _temporary(store: ArtifactStore) -> Iterator[tuple[Path, BinaryIO]]:
    with _disk():
        handle, name = tempfile.mkstemp(dir=store.spool, prefix="upload-")
    path = Path(name)
    try:
        with os.fdopen(handle, "wb", buffering=0) as file:
            yield path, file
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def _disk() -> Iterator[None]:
    """StorageFullError or UnavailableError for what the disk refuses: it is full, or the folder is gone."""
    try:
        yield
    except OSError as error:
        _log.exception("an upload could not be written")
        reason = error.strerror or "it failed"
        refusal = StorageFullError if is_full(error) else UnavailableError
        raise refusal(
            f"the server cannot store the upload ({reason}): its operator has to look at the disk that holds "
            "SAT_ARTIFACTS and SAT_CACHE. Send it again then."
        ) from error


@dataclass
class _Form:
    """Follows the parser through the parts of a form."""

    name: str
    file: BinaryIO
    limit: int
    take: Take
    unwritten: bytearray = field(default_factory=bytearray)
    metadata: bytearray = field(default_factory=bytearray)
    seen: set[str] = field(default_factory=set)
    complete: bool = False
    _part: str = ""
    _size: int = 0
    _header: tuple[bytearray, bytearray] = field(default_factory=lambda: (bytearray(), bytearray()))

    def callbacks(self) -> dict[str, object]:
        """What the parser calls."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda text, start, end: self._extend(0, text[start:end]),
            "on_header_value": lambda text, start, end: self._extend(1, text[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": self._start_part,
            "on_part_data": self._take,
            "on_end": self._end,
        }

    def write(self) -> None:
        """Move what came to the disk."""
        view = memoryview(self.unwritten)
        with _disk():
            while view:
                view = view[self.file.write(view) :]
        view.release()
        self.unwritten = bytearray()

    def checked_metadata(self) -> bytes:
        """The metadata; InvalidError when the form is cut short or a field is missing."""
        if not self.complete:
            raise InvalidError("the upload ended before its form did: it is truncated. Send it again, whole.")
        if METADATA not in self.seen:
            raise InvalidError(f"the form field `{METADATA}` is missing: send it as JSON text.")
        if self.name not in self.seen or self._size == 0:
            raise InvalidError(f"send the {self.name} in the form field `{self.name}`: a file that is not empty.")
        metadata, self.metadata = bytes(self.metadata), bytearray()
        return metadata

    def _begin(self) -> None:
        self._part = ""
        self._header = (bytearray(), bytearray())

    def _extend(self, which: int, text: bytes) -> None:
        self._header[which].extend(text)  # the parser bounds the headers

    def _end_header(self) -> None:
        header, value = self._header
        if header.lower() == b"content-disposition":
            _, options = parse_options_header(bytes(value))
            self._part = options.get(b"name", b"").decode(errors="replace")
        self._header = (bytearray(), bytearray())

    def _start_part(self) -> None:
        if self._part not in {METADATA, self.name}:
            raise InvalidError(
                f"there is no form field {self._part[:80]!r}: send `{METADATA}` (JSON) and `{self.name}` (a file)."
            )
        if self._part in self.seen:
            raise InvalidError(f"the form field `{self._part}` is there twice: send it once.")
        self.seen.add(self._part)

    def _take(self, text: bytes, start: int, end: int) -> None:
        if self._part == METADATA:
            if len(self.metadata) + end - start > MAX_METADATA_BYTES:
                raise TooLargeError(f"`{METADATA}` has more than {MAX_METADATA_BYTES} bytes.")
            self.take(end - start)
            self.metadata += text[start:end]
            return
        self._size += end - start
        if self._size > self.limit:
            raise too_large(self.limit)
        self.unwritten += text[start:end]

    def _end(self) -> None:
        self.complete = True


class Room:
    """Asks again and again, while a file comes, whether the disk has room for more of it.

    Many files come at once, and none of them says for sure how long it is.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._granted = 0

    async def take(self, size: int) -> None:
        """So many bytes are about to be written; StorageFullError where the disk takes no more."""
        if size > self._granted:
            await run_in_threadpool(self._renew, size)
        self._granted -= size

    def take_now(self, size: int) -> None:
        """The same, outside the event loop."""
        if size > self._granted:
            self._renew(size)
        self._granted -= size

    def _renew(self, size: int) -> None:
        with _disk():
            self._services.store.require_room(size, self._services.sessions)
        self._granted = max(size, ROOM_BYTES)


def writing_to_disk(file: BinaryIO, unwritten: bytearray) -> None:
    """Write it all, and empty it; UnavailableError for what the disk refuses."""
    with _disk(), memoryview(bytes(unwritten)) as view:
        left = view
        while left:
            left = left[file.write(left) :]
    unwritten.clear()


def too_large(limit: int) -> TooLargeError:
    """What is said of a file, or a piece of one, beyond so many bytes."""
    return TooLargeError(
        f"the file is larger than the {limit} bytes that this server takes: its operator sets SAT_MAX_UPLOAD_BYTES."
    )
