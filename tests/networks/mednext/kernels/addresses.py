"""What Triton's interpreter does not see: addresses outside the tensors, voxels stored twice."""

import numpy as np


class Addresses:
    """Watches the loads and stores of every kernel that the interpreter runs."""

    def __init__(self):
        self._tensors = []
        self._stored = []

    def watch(self, monkeypatch):
        """Until `monkeypatch` is undone."""
        from triton.runtime import interpreter

        builder, executor = interpreter.InterpreterBuilder, interpreter.GridExecutor
        load, store = builder.create_masked_load, builder.create_masked_store
        prepare, restore = executor._init_args_hst, executor._restore_args_dev

        def watched_load(one, pointers, mask, *rest):
            self._inside(pointers.data, mask.data, pointers.get_element_ty())
            return load(one, pointers, mask, *rest)

        def watched_store(one, pointers, value, mask, *rest):
            touched = self._inside(pointers.data, mask.data, pointers.get_element_ty())
            self._stored.append(touched)
            return store(one, pointers, value, mask, *rest)

        def watched_start(one, *given):
            host = prepare(one, *given)
            self._start([*host[0], *host[1].values()])
            return host

        def watched_end(one, *given):
            self._end()
            return restore(one, *given)

        monkeypatch.setattr(builder, "create_masked_load", watched_load)
        monkeypatch.setattr(builder, "create_masked_store", watched_store)
        monkeypatch.setattr(executor, "_init_args_hst", watched_start)
        monkeypatch.setattr(executor, "_restore_args_dev", watched_end)

    def _start(self, arguments):
        tensors = [one for one in arguments if hasattr(one, "data_ptr")]
        self._tensors = [(one.data_ptr(), one.data_ptr() + one.nbytes) for one in tensors]
        self._stored = []

    def _inside(self, pointers, mask, kind):
        # A mask may be one value, and of integers.
        pointers, mask = np.broadcast_arrays(pointers, mask.astype(bool))
        touched = pointers[mask]
        if touched.size:
            first, last = int(touched.min()), int(touched.max()) + kind.primitive_bitwidth // 8
            inside = any(start <= first and last <= end for start, end in self._tensors)
            assert inside, "a kernel touches memory outside its tensors"
        return touched

    def _end(self):
        stored = np.concatenate(self._stored) if self._stored else np.empty(0)
        assert len(np.unique(stored)) == len(stored), "a kernel stores to an address twice"
