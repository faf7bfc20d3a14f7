"""Start the server."""

import socket
from collections.abc import Callable

import uvicorn

from augpro.errors import InputError
from augpro.serve.answering import Answerer
from augpro.serve.app import make_app
from augpro.serve.measures import Measures
from augpro.serve.options import Limits, ServeConfig
from augpro_runtime import Classifier
from augpro_runtime import InputError as RuntimeInputError
from augpro_runtime.folder import TOKENIZER, read_file

# Seconds until an idle connection is closed. Load balancers keep theirs for a minute, and a call that comes on one
# which the server is closing is lost.
_IDLE = 75


def serve(config: ServeConfig, started: Callable[[str], None]) -> None:
    """Serve until the process is told to end; calls that were accepted are answered first.

    Args:
        config: model and address.
        started: called with the address, once calls are answered.

    Raises:
        InputError: if the folder, the fallback or the address cannot be used.
    """
    listener = _listen(config.host, config.port)
    with listener:
        application = make_app(_answerer(config))
        server = _Server(
            uvicorn.Config(
                application, log_level="warning", access_log=False, lifespan="on", timeout_keep_alive=_IDLE
            ),
            lambda: started(_address(listener)),
        )
        server.run(sockets=[listener])


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._tell = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Say so when calls are answered."""
        await super().startup(sockets)
        self._tell()


def _answerer(config: ServeConfig) -> Answerer:
    """Load the student, and the teacher if there is one."""
    try:
        student = Classifier.load(config.model, config.threads)
    except RuntimeInputError as error:
        raise InputError(str(error)) from error
    teacher = None
    if config.fallback is not None:
        if student.manifest.problem_type != "single_label":
            raise InputError(
                f"{config.model} does not give one label for a text, so no threshold says when it is confident; "
                "leave --fallback out."
            )
        if student.calibration is None:
            raise InputError(
                f"{config.model} has no calibration, so it cannot be told when to ask the teacher; run augpro "
                "calibrate on the student's folder and export it again, or leave --fallback out."
            )
        from augpro.serve.fallback import load_fallback

        teacher = load_fallback(config.fallback, student.labels, config.label_store)
    elif config.label_store is not None:
        raise InputError(
            "--label-store keeps the answers of a teacher; give one as --fallback, or leave it out."
        )
    limits = Limits(texts=config.max_texts, characters=config.max_characters)
    tokenizer = read_file(config.model, student.manifest, TOKENIZER).decode()
    return Answerer(student, tokenizer, teacher, limits, Measures())


def _listen(host: str, port: int) -> socket.socket:
    """The socket; bound before anything is loaded."""
    try:
        kind, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # With the protocol's number, as asyncio sends answers at once (TCP_NODELAY) only on sockets that name it.
        listener = socket.socket(kind, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    except (OSError, UnicodeError) as error:  # the latter where a part of a name is empty or too long
        reason = getattr(error, "strerror", None) or "a part of it is empty or too long"
        raise InputError(
            f"--host {host!r}: is no address of this machine ({reason}); give 127.0.0.1, 0.0.0.0 to listen on all of "
            "its addresses, or one of them."
        ) from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise InputError(
            f"--port {port}: cannot be listened on at {host} ({error.strerror}); end the other program or give "
            "another --port or --host."
        ) from error
    return listener


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
