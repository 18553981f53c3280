"""`mednext experiment` whose minutes are minutes of processor time.

    OMP_NUM_THREADS=1 python benchmarks/experiment.py ablation/upkern_hippocampus \
        --set budget.minutes=5 --set training.workers=0 --cache CACHE --out OUT

With one thread they are minutes of one core, whatever else the machine does meanwhile, so that arms
stay comparable beside other work. Options are those of the command; the same call goes on.
"""

import sys
import time

from mednext_cli.app import main_and_exit
from mednext_cli.experiments import one_run, processes
from mednext_cli.training.extent import Extent

_ONE_RUN = "--one-run"


def main() -> None:
    """The command, or one of the processes it begins: then with the processor's clock."""
    if sys.argv[1:] == [_ONE_RUN]:
        Extent.clock = staticmethod(time.process_time)  # type: ignore[method-assign]
        sys.exit(one_run.main())
    processes._COMMAND = [sys.executable, __file__, _ONE_RUN]
    sys.argv.insert(1, "experiment")
    main_and_exit()


if __name__ == "__main__":
    main()
