"""The folder of one server for the sockets of its processes."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from server.config import ConfigError

# sockaddr_un in unix(7) has 108 bytes, with the zero at the end.
MAX_SOCKET_PATH_BYTES = 107
# The longest name of a socket: engine-NNN.
_LONGEST_NAME = "engine-999"


@contextmanager
def working_folder() -> Iterator[Path]:
    """Make a folder that nobody else can read, and remove it at the end.

    Raises: ConfigError: there is no place for temporary files, or its path is too long.
    """
    try:
        folder = tempfile.TemporaryDirectory(prefix="hearth-", ignore_cleanup_errors=True)
    except OSError as error:
        raise ConfigError(
            f"no folder for temporary files can be written to ({error}); set TMPDIR to one that can be"
        ) from error
    with folder:
        path = Path(folder.name)
        if (length := len(os.fsencode(path / _LONGEST_NAME))) > MAX_SOCKET_PATH_BYTES:
            raise ConfigError(
                f"the path of a socket may have {MAX_SOCKET_PATH_BYTES} bytes; '{path / _LONGEST_NAME}' has {length}; "
                "set TMPDIR to a folder with a shorter path"
            )
        yield path
