"""A view of bytes as a file."""

import io


class ViewFile(io.RawIOBase):
    """A view of bytes as a file, for what reads files, without a copy."""

    def __init__(self, view: memoryview) -> None:
        super().__init__()
        self._view, self._position = view, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]
        some = self._view[self._position : self._position + len(buffer)]
        buffer[: len(some)] = some
        self._position += len(some)
        return len(some)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: len(self._view)}[whence]
        if start + offset < 0:
            raise ValueError("a place before the beginning")
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        return self._position
