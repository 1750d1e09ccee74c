"""Output files: published under unguessable unique paths, removed with their prediction."""

import base64
from dataclasses import dataclass
from typing import Any

from tools.simulator import ids
from tools.simulator.media.pool import MediaPool
from tools.simulator.media.spec import Blob, OutputFile
from tools.simulator.settings import Launch
from tools.simulator.store import Prediction

_LONGEST_INLINE = 5_000_000  # bytes; larger files stay URLs in sync mode


@dataclass(slots=True)
class _Publication:
    """The files of one output being published."""

    prediction: Prediction
    folder: str
    count: int = 0


class Delivery:
    """Turns the OutputFile values of an output into URLs, and serves their bytes by path."""

    def __init__(self, launch: Launch, pool: MediaPool) -> None:
        self._launch = launch
        self._pool = pool
        self._files: dict[str, Blob] = {}

    async def publish(self, output: Any, prediction: Prediction) -> Any:
        """The output as JSON, every file replaced by its URL (or data: URI)."""
        return await self._resolved(output, _Publication(prediction, ids.delivery_folder()))

    def find(self, path: str) -> Blob | None:
        """The file at `/delivery/…` or `/third-party/…`."""
        return self._files.get(path)

    def remove(self, paths: list[str]) -> None:
        """Delete files; what another host holds stays."""
        for path in paths:
            self._files.pop(path, None)

    def clear(self) -> None:
        """Delete every file."""
        self._files.clear()

    def inlined(self, output: Any) -> Any:
        """The output with our file URLs turned to data: URIs, as sync mode may answer."""
        if isinstance(output, dict):
            return {key: self.inlined(value) for key, value in output.items()}
        if isinstance(output, list):
            return [self.inlined(value) for value in output]
        if isinstance(output, str) and output.startswith(f"{self._launch.url}/delivery/"):
            blob = self._files.get(output.removeprefix(self._launch.url))
            if blob and len(blob.body) < _LONGEST_INLINE:
                return data_uri(blob)
        return output

    async def _resolved(self, value: Any, publication: _Publication) -> Any:
        if isinstance(value, OutputFile):
            return await self._published(value, publication)
        if isinstance(value, dict):
            return {key: await self._resolved(item, publication) for key, item in value.items()}
        if isinstance(value, list):
            return [await self._resolved(item, publication) for item in value]
        return value

    async def _published(self, file: OutputFile, publication: _Publication) -> str:
        blob = await self._pool.get(file.media)
        if file.content_type:
            blob = Blob(blob.body, file.content_type, blob.etag)
        if file.origin == "data":
            return data_uri(blob)
        index = publication.count
        publication.count += 1
        name = file.name or f"out-{index}.{file.media.kind}"
        root = "third-party" if file.origin == "third-party" else "delivery"
        path = f"/{root}/{publication.folder}/{index}/{name}"
        self._files[path] = blob
        if root == "third-party":
            return self._launch.third_party_url + path
        publication.prediction.files.append(path)
        return self._launch.url + path


def data_uri(blob: Blob) -> str:
    """The bytes as a base64 data: URI (RFC 2397)."""
    return f"data:{blob.content_type.split(';')[0]};base64,{base64.b64encode(blob.body).decode()}"
