"""`mednext` whose `training.minutes` are minutes of processor time.

    python benchmarks/baselines_ours.py train NAME --set training.minutes=10 ...

With one thread they are minutes of one core, whatever else the machine does meanwhile.
"""

import time

from mednext_cli.app import main_and_exit
from mednext_cli.training.extent import Extent


def main() -> None:
    """The `mednext` command with the processor's clock around each step."""
    Extent.clock = staticmethod(time.process_time)  # type: ignore[method-assign]
    main_and_exit()


if __name__ == "__main__":
    main()
