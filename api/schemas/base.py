"""What all answers share."""

from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

T = TypeVar("T")
GIGA = 1e9


class Answer(BaseModel):
    """An answer or a part of one; it can be read off an object with the same attributes."""

    model_config = ConfigDict(from_attributes=True)


class Page(Answer, Generic[T]):
    """One page of a list."""

    items: list[T]
    next: str | None = Field(description="Path and query of the next page; null on the last one.")
    total: int = Field(description="Items on all pages.")


class Problem(BaseModel):
    """An error (RFC 9457); `detail` says what to do. Some carry more members, such as `near` or `errors`."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "type": "about:blank",
                    "title": "Not found",
                    "status": 404,
                    "detail": "there is no model 'resnet_a'. Did you mean resnet-a?",
                    "request_id": "9f8b3a1c0d2e4f5a8b7c6d5e4f3a2b1c",
                    "near": ["resnet-a"],
                }
            ]
        },
    )

    type: str
    title: str
    status: int
    detail: str
    request_id: str = Field(description="That of X-Request-Id; the server's log has it.")
