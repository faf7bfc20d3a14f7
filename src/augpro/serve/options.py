"""Options of ``augpro serve``."""

from pydantic import BaseModel, ConfigDict, Field

from augpro.config import LabelStoreOptions, OptionalName, PathOption


class ServeConfig(LabelStoreOptions):
    """Answer texts over HTTP with an exported student."""

    model: PathOption = Field(description="Folder that augpro export has written.")
    host: str = Field("127.0.0.1", description="Address to listen on; 0.0.0.0 for other machines.")
    port: int = Field(8080, ge=0, le=65535, description="Port to listen on; 0 for one that is free.")
    fallback: OptionalName = Field(
        None,
        description="The teacher: folder or hub name. It answers the texts below the threshold of augpro calibrate.",
    )
    threads: int | None = Field(
        None, ge=1, le=1024, description="Threads of the student. Default: all cores."
    )
    max_texts: int = Field(256, ge=1, description="Most texts in a call.")
    max_characters: int = Field(20_000, ge=1, description="Most characters in a text.")


class Limits(BaseModel):
    """What a call may hold at most."""

    model_config = ConfigDict(frozen=True)

    texts: int = 256
    characters: int = 20_000
    body_bytes: int = 8 * 2**20
    teacher_seconds: float = 50.0
    """Time for the teacher; then the student's answer is given, within the minute after which proxies give up."""
    body_seconds: float = 30.0
    """Time for the whole body to come; else a client that stops halfway would keep the server from ending."""
    waiting_texts: int = 4096
    """Texts of all calls that wait; more are refused."""
