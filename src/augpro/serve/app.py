"""The routes: POST /predict, GET /health, GET /metrics."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from augpro.serve.answering import Answerer, as_json
from augpro.serve.options import Limits
from augpro.serve.requests import RequestError, read_call

log = logging.getLogger(__name__)
_DRAIN_SECONDS = 2.0


def make_app(answerer: Answerer) -> FastAPI:
    """The application around an answerer."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        answerer.start()
        yield
        await answerer.stop()

    # The pages that show the interface would load scripts from elsewhere.
    app = FastAPI(
        title="augpro serve", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None,
        redirect_slashes=False,
    )  # fmt: skip
    measures, student = answerer.measures, answerer.student

    @app.post("/predict")
    async def predict(request: Request) -> Response:
        started = time.perf_counter()
        try:
            body = await _read_body(request, answerer.limits)
            call = read_call(body, answerer.limits, student.manifest.pair)
            content = as_json(call, await answerer.answer(call), student.labels)
            response = _json(content)
        except RequestError as error:
            measures.errors.labels(error.kind).inc()
            response = _refusal(error)
        except ClientDisconnect:
            measures.errors.labels("client left").inc()
            return Response(status_code=HTTPStatus.BAD_REQUEST)  # which nobody reads
        except Exception:
            log.exception("a call failed")
            measures.errors.labels("internal").inc()
            response = _error(
                HTTPStatus.INTERNAL_SERVER_ERROR, "backend", "the model failed; see the server's log"
            )
        measures.requests.labels(str(response.status_code)).inc()
        measures.seconds.observe(time.perf_counter() - started)
        return response

    @app.api_route("/health", methods=["GET", "HEAD"])
    async def health() -> Response:
        found = student.calibration
        return _json(
            {
                "status": "ok", "labels": student.labels, "problem_type": student.manifest.problem_type,
                "threshold": found.threshold if found else None, "below_threshold_share": measures.below_share(),
                "fallback_share": measures.fallback_share(),
            }
        )  # fmt: skip

    @app.api_route("/metrics", methods=["GET", "HEAD"])
    async def metrics() -> Response:
        return Response(generate_latest(measures.registry), media_type=CONTENT_TYPE_LATEST)

    @app.exception_handler(HTTPException)
    async def no_route(request: Request, error: HTTPException) -> Response:
        told = f"{error.detail}: there are POST /predict, GET /health and GET /metrics"
        return _error(HTTPStatus(error.status_code), "route", told)

    return app


async def _read_body(request: Request, limits: Limits) -> bytes:
    """The whole body, of which never more is held than is allowed."""
    try:
        async with asyncio.timeout(limits.body_seconds):
            return await _whole(request, limits.body_bytes)
    except TimeoutError as error:
        raise RequestError(
            HTTPStatus.REQUEST_TIMEOUT, "body too slow",
            f"the body did not come within {limits.body_seconds:g} seconds; send it at once",
        ) from error  # fmt: skip


async def _whole(request: Request, most: int) -> bytes:
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > most:
        raise _too_large(most)
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise _too_large(most)
        parts.append(part)
    return b"".join(parts)


def _too_large(most: int) -> RequestError:
    return RequestError(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body too large",
        f"the body has more than {most / 2**20:g} MiB; send the texts in several calls",
    )  # fmt: skip


class _Closing(Response):
    """Answers before the body was read, then throws away what still comes for a while.

    A client that sends without looking would be told of a broken connection instead of the reason.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer, read on, and close."""
        headers = [*self.raw_headers, (b"connection", b"close")]
        await send({"type": "http.response.start", "status": self.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        if not any(name == b"expect" for name, _ in scope["headers"]):
            with suppress(TimeoutError):
                async with asyncio.timeout(_DRAIN_SECONDS):
                    while (await receive()).get("more_body"):
                        pass
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _json(content: Any, status: int = HTTPStatus.OK, kind: type[Response] = Response) -> Response:
    body = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    return kind(body, status_code=status, media_type="application/json")


def _error(status: HTTPStatus, kind: str, message: str, response: type[Response] = Response) -> Response:
    return _json({"error": message, "error_type": kind}, status, response)


def _refusal(error: RequestError) -> Response:
    unread = error.kind in ("body too large", "body too slow")
    return _error(error.status, error.kind, str(error), _Closing if unread else Response)
