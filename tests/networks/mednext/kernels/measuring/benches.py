"""A bench whose clock is moved by the work itself."""

from mednext_cli.networks.mednext.kernels.measuring.clocks import Clocks
from mednext_cli.networks.mednext.kernels.measuring.timing import Prepared


class FakeBench:
    """Queues like a GPU: nothing is done, and no reading is good, before `wait`."""

    def __init__(self):
        self.now_ms, self.queued, self.events = 0.0, [], []

    def takes(self, name, *milliseconds):
        """Work that takes these times in turn, the last one for ever; the first is the warm-up."""
        times = list(milliseconds)

        def work():
            self.events.append(name)
            self.now_ms += times.pop(0) if len(times) > 1 else times[0]

        return work

    def prepare(self, work):
        work()
        return Prepared(work, peak_bytes=7)

    def start(self, prepared):
        reading = []

        def do():
            begin = self.now_ms
            prepared.run()
            reading.append(self.now_ms - begin)

        self.queued.append(do)
        return lambda: reading[0]

    def wait(self):
        self.events.append("wait")
        while self.queued:
            self.queued.pop(0)()

    def clocks(self):
        return Clocks(len(self.queued), 0, 0, 0)
