"""Work on a Dask cluster instead of this machine's processes (extra ``distributed``)."""

import logging
import re
import socket
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from mednext_cli.foundation.errors import MednextError, PluginError, SettingsError

if TYPE_CHECKING:
    from distributed import Client

Item = TypeVar("Item")
Value = TypeVar("Value")
logger = logging.getLogger(__name__)
_SECONDS_TO_CONNECT, _SECONDS_TO_KNOCK = 20, 5
_ADDRESS = re.compile(r"((tcp|tls|ws|wss|ucx)://)?\[?(?P<host>[^\[\]/\s]+?)\]?:(?P<port>\d{1,5})/?")
_LAST_PORT = 65535
_START = "Start one with dask scheduler, and give the address it prints."


class ClusterError(MednextError):
    """The cluster could not do an item."""


def on_cluster(
    work: Callable[[Item], Value],
    items: Sequence[Item],
    name: Callable[[Item], str],
    address: str,
) -> Generator[tuple[str, Value | None, BaseException | None], None, None]:
    """Do `work` for every item on the cluster; yield name, value and error as they come.

    The scheduler gives the items of a worker that dies to the others. An item that three workers
    died of is given up.

    Args:
        work: importable on the workers, which need the same mednext and see the same disks.
        items: what to work on.
        name: the case id of an item.
        address: of the scheduler, like ``tcp://node1:8786``.

    Raises:
        PluginError: `distributed` is not installed. SettingsError: nobody answers at the address,
            or the scheduler is lost.
    """
    client = _connect(address)
    from distributed.comm import CommClosedError

    try:
        if not client.scheduler_info(n_workers=-1)["workers"]:
            logger.warning("%s has no workers yet: waiting for them", address)
        waiting = {client.submit(work, item, pure=False): name(item) for item in items}
        yield from _as_they_come(client, waiting, address)
    except CommClosedError as error:
        raise _lost(address) from error
    finally:
        client.close()


def _connect(address: str) -> "Client":
    _knock(address)
    try:
        from distributed import Client
    except ImportError as error:
        raise PluginError(
            "--scheduler needs the package distributed", "pip install 'mednext[distributed]'"
        ) from error
    # They log a lost scheduler with several tracebacks; the error raised here says it in a line.
    for name in ("distributed", "distributed.client", "tornado"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    try:
        return Client(address, timeout=_SECONDS_TO_CONNECT, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise SettingsError(
            f"--scheduler {address}: no Dask scheduler answers there", _START
        ) from error


def _knock(address: str) -> None:
    """See that the address is one and somebody listens: Dask would try for 40 seconds."""
    found = _ADDRESS.fullmatch(address)
    if not found or int(found["port"]) > _LAST_PORT:
        raise SettingsError(
            f"--scheduler {address} is not an address like tcp://node1:8786", _START
        )
    try:
        socket.create_connection((found["host"], int(found["port"])), _SECONDS_TO_KNOCK).close()
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SettingsError(
            f"--scheduler {address}: nobody answers there ({reason.lower()})", _START
        ) from error


def _as_they_come(
    client: "Client", waiting: dict[Any, str], address: str
) -> Iterator[tuple[str, Any, BaseException | None]]:
    from distributed import as_completed

    for future in as_completed(list(waiting), loop=client.loop):
        name = waiting.pop(future)
        if future.status == "finished":
            yield name, future.result(), None
        elif future.status == "cancelled":
            raise _lost(address)
        else:
            yield name, None, _plain(future.exception())
        future.release()


def _lost(address: str) -> SettingsError:
    return SettingsError(
        f"the scheduler at {address} was lost", "Start it again; the same command carries on."
    )


def _plain(error: BaseException) -> BaseException:
    from distributed.scheduler import KilledWorker

    if isinstance(error, KilledWorker):
        return ClusterError(
            "the workers that tried this case were killed, most likely for their memory",
            "Give each worker more memory (dask worker --memory-limit).",
        )
    return error
