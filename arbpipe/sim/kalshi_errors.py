"""The bodies of simulated Kalshi's refusals, in the shapes that were recorded (kalshi.md section 3.6).

Four shapes: ``{"error": {"code", "message", "details"?}}``, the flat ``{"code", "message", "details"}`` of a body that
does not parse, ``{"msg"}`` of a query parameter, and ``{"error": "too many requests"}``.
"""

from __future__ import annotations

from http import HTTPStatus

__all__ = ["Refusal", "plain", "refuse", "refuse_body", "refuse_query", "too_many_requests"]


class Refusal(Exception):
    """An HTTP answer that is not a success: ``status`` and ``body``."""

    def __init__(self, status: int, body: dict[str, object]) -> None:
        super().__init__(f"{status} {body}")
        self.status = status
        self.body = body


def refuse(status: int, code: str, details: str | None = None, *, message: str | None = None) -> Refusal:
    """The normal shape; the message is the code in words unless given."""
    error = {"code": code, "message": code.replace("_", " ") if message is None else message}
    if details is not None:
        error["details"] = details
    return Refusal(status, {"error": error})


def refuse_body(details: str) -> Refusal:
    """The flat shape: the body does not parse into the request's structure."""
    return Refusal(400, {"code": "bad_request", "message": "bad request", "details": details})


def refuse_query(operation: str, field: str, tag: str) -> Refusal:
    """A query parameter fails its validation tag (``lte``, ``oneof``, …)."""
    detail = f"Key: '{operation}Params.{field}' Error:Field validation for '{field}' failed on the '{tag}' tag"
    return Refusal(400, {"msg": f"Parameter validation failed for {operation}: {detail}"})


def too_many_requests() -> Refusal:
    """The token bucket is empty; there is no Retry-After."""
    return Refusal(429, {"error": "too many requests"})


def plain(status: int) -> Refusal:
    """An answer of that status that says nothing more: 429 as recorded, others in the normal shape with the phrase."""
    if status == 429:
        return too_many_requests()
    phrase = HTTPStatus(status).phrase.lower()
    return refuse(status, phrase.replace(" ", "_").replace("-", "_"), message=phrase)
