# cython: language_level=3, boundscheck=False, wraparound=False, embedsignature=True
"""The one door to C: programs of kernel steps, the instruction set, the worker pool.

Everything that C trusts is checked here: operand bounds, constants, array sizes. A run is one call
without the GIL.
"""

import numpy as np

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stddef cimport ptrdiff_t
from libc.stdlib cimport calloc, free

from mininet.arguments import check_integer
from mininet.errors import ArgumentError, DTypeError, MininetError, ShapeError

cdef extern from "mininet.h" nogil:
    enum: MN_BLOCK
    enum: MN_MAX_INPUTS
    enum: MN_MAX_CONSTANTS
    enum: MN_MAX_EXTERNALS
    enum: MN_ACTIVATION_COUNT
    enum: MN_KERNEL_COUNT
    ctypedef int mn_activation
    ctypedef int mn_kernel_id
    const char *mn_activation_names[]
    const char *mn_kernel_names[]

    ctypedef struct mn_operand:
        ptrdiff_t space, offset

    ctypedef struct mn_extent:
        ptrdiff_t h, w, c, lanes

    ctypedef struct mn_step:
        mn_kernel_id kernel
        mn_activation activation
        ptrdiff_t inputs
        mn_extent in_ "in"[2]
        mn_extent out
        ptrdiff_t kh, kw, sh, sw, dh, dw, pt, pl, slots, groups, means, halved, turn
        mn_step *first
        mn_step *last
        const float *constant[3]
        mn_operand x[2]
        mn_operand y
        ptrdiff_t tasks

    ctypedef struct mn_isa:
        const char *name
        ptrdiff_t width

    ctypedef struct mn_program:
        const mn_step *steps
        ptrdiff_t count, arena, workspace, externals
        ptrdiff_t stride[8]

    const mn_isa *mn_isa_choice()
    int mn_isa_double_pumped()
    const char *const *mn_isa_available()
    ptrdiff_t mn_constant_floats(const mn_step *step, int i)
    void mn_prepare(mn_step *steps, ptrdiff_t count)
    int mn_run(const mn_program *program, float *const *externals, ptrdiff_t batch, float *arena, int threads,
               int abreast, double *seconds)
    double mn_fma_peak(double seconds)
    void mn_set_num_threads(int count)
    int mn_get_num_threads()
    int mn_cpu_count()


def _names(int count, bint activations):
    return tuple((mn_activation_names[i] if activations else mn_kernel_names[i]).decode() for i in range(count))


ACTIVATIONS = _names(MN_ACTIVATION_COUNT, True)
KERNELS = _names(MN_KERNEL_COUNT, False)
BLOCK = MN_BLOCK

_FLOAT32 = np.dtype(np.float32)     # to compare an array's type with np.float32 would make this anew
_NOTHING = np.zeros(0, np.float32)

cdef enum:
    ALIGNMENT = 64      # bytes: a cache line

_MOST_FLOATS_ABREAST = 1 << 26
"""Scratch memory, 256 MB, up to which every thread gets an image of its own."""

_MOST_FLOATS = 1 << 40
"""Of one tensor, or of all scratch memory: no product of sizes in C comes near to overflowing."""

cdef dict _activation_ids = {name: i for i, name in enumerate(ACTIVATIONS)}
cdef dict _kernel_ids = {name: i for i, name in enumerate(KERNELS)}


def available_isas():
    """Instruction sets that this build and this CPU can run, best first."""
    cdef const char *const *names = mn_isa_available()
    found = []
    i = 0
    while names[i] != NULL:
        found.append(names[i].decode())
        i += 1
    return tuple(found)


if mn_isa_choice() == NULL:
    raise ImportError(f"MININET_ISA names an instruction set that is not available here; choose one of {available_isas()}")


def isa():
    """Name of the instruction set whose kernels run."""
    return mn_isa_choice().name.decode()


def vector_width():
    """Floats in one vector register of that instruction set: the width of a weight panel."""
    return mn_isa_choice().width


def double_pumped():
    """Whether this processor computes its widest registers in two halves, so that half a register saves time."""
    return bool(mn_isa_double_pumped())


def fma_peak(double seconds=0.002):
    """Most multiply-adds per second of one thread, measured in bursts for so many seconds."""
    cdef double rate
    with nogil:
        rate = mn_fma_peak(seconds)
    return rate


def set_num_threads(count):
    """Use at most ``count`` threads (1 or more) in calls that start from now on."""
    count = check_integer("threads", count, least=1)
    mn_set_num_threads(min(count, 1 << 16))     # the pool has a bound of its own


def get_num_threads():
    """How many threads a call may use; by default the CPUs this process may run on."""
    return mn_get_num_threads()


def cpu_count():
    """CPUs this process may run on."""
    return mn_cpu_count()


cdef class Program:
    """A list of steps over one arena, ready to run.

    Parameters
    ----------
    steps : sequence of (Step, inputs, output)
        Operands are ``(space, offset)`` pairs, offsets in floats: space 0 is the arena, space
        ``1 + i`` the i-th external array.
    arena : int
        Floats that the intermediate tensors of one run take.
    inputs, outputs : sequence of int
        Floats per image of each external array; inputs come first.
    """

    cdef mn_step *_steps
    cdef mn_program _program
    cdef float[::1] _constants    # the weights, in the order in which the steps read them
    cdef Py_ssize_t _filled
    cdef list _arenas             # idle scratch memory; one piece per run at a time
    cdef Py_ssize_t _inputs

    def __cinit__(self, steps, arena, inputs, outputs):
        cdef Py_ssize_t i, inner
        sizes = [*inputs, *outputs]
        if len(sizes) > MN_MAX_EXTERNALS:
            raise ArgumentError(f"a program takes at most {MN_MAX_EXTERNALS} inputs and outputs, got {len(sizes)}")
        in_order = [part for step, _, _ in steps for part in _parts(step)]
        self._steps = <mn_step *>calloc(max(len(in_order), 1), sizeof(mn_step))
        if self._steps == NULL:
            raise MemoryError
        self._arenas = []
        self._inputs = len(inputs)
        self._constants = _aligned(sum(_padded(array.size) for part in in_order for array in part.constants))
        self._filled = 0
        for step, _, _ in steps:
            _check_sizes(step)
        self._program.steps = self._steps
        self._program.count = len(steps)
        self._program.arena = _checked_floats("a program's arena", arena)
        self._program.workspace = max((_padded(step.workspace) for step, _, _ in steps), default=0)
        self._program.externals = len(sizes)
        for i, size in enumerate(sizes):
            self._program.stride[i] = _checked_floats("an image of an array", size)
        spaces = [arena, *sizes]
        inner = len(steps)      # the first and last parts of fused steps lie behind all steps
        for i, (step, sources, target) in enumerate(steps):
            inner = self._describe_all(&self._steps[i], step, inner)
            _place(&self._steps[i], step, sources, target, spaces)
        mn_prepare(self._steps, len(steps))

    def __dealloc__(self):
        free(self._steps)

    cdef Py_ssize_t _describe_all(self, mn_step *s, step, Py_ssize_t inner) except -1:
        """A step and what it is fused of, which goes from place ``inner`` on. Returns the place behind."""
        if step.first is not None:
            s.first = &self._steps[inner]
            inner = self._describe_all(s.first, step.first, inner + 1)
        self._describe(s, step)
        if step.last is not None:
            s.last = &self._steps[inner]
            inner = self._describe_all(s.last, step.last, inner + 1)
        return inner

    cdef int _describe(self, mn_step *s, step) except -1:
        """Everything about a step but where its operands lie."""
        cdef const float[::1] view
        cdef Py_ssize_t i
        s.kernel = _kernel_ids[step.kernel]
        s.activation = _activation_ids[step.activation]
        s.kh, s.kw = step.window
        s.sh, s.sw = step.stride
        s.dh, s.dw = step.dilation
        s.pt, s.pl = step.padding[0], step.padding[2]
        s.slots = step.slots
        s.groups = step.groups
        s.means = step.means
        s.halved = step.halved
        s.turn = step.turn
        if not 1 <= len(step.inputs) <= MN_MAX_INPUTS or len(step.constants) > MN_MAX_CONSTANTS:
            raise MininetError(f"step {step.kernel}: {len(step.inputs)} inputs, {len(step.constants)} constants")
        s.inputs = len(step.inputs)
        for i, image in enumerate(step.inputs):
            s.in_[i] = _extent(image, step.planar_input)
        s.out = _extent(step.output, step.planar_output)
        for i in range(MN_MAX_CONSTANTS):
            needed = mn_constant_floats(s, i)
            array = step.constants[i] if i < len(step.constants) else _NOTHING
            if array.dtype != np.float32 or not array.flags.c_contiguous or array.size != needed:
                raise MininetError(f"step {step.kernel}: constant {i} must be {needed} contiguous float32, "
                                   f"got {array.dtype} {array.shape}")
            if needed:
                view = array.reshape(-1)
                s.constant[i] = &self._constants[self._filled]
                self._constants[self._filled : self._filled + needed] = view
                self._filled += _padded(needed)
        return 0

    @property
    def arena_bytes(self):
        """Bytes that the intermediate tensors of one run take."""
        return self._program.arena * sizeof(float)

    @property
    def packed_bytes(self):
        """Bytes of the weights, in the layouts that the kernels want."""
        return self._constants.size * sizeof(float)

    @property
    def workspace_bytes(self):
        """Bytes of scratch memory that each thread needs besides."""
        return self._program.workspace * sizeof(float)

    def run(self, inputs, outputs, Py_ssize_t batch, seconds=None):
        """Run for a batch.

        Parameters
        ----------
        inputs : sequence of float32 arrays
            C-contiguous, one image after the other; may be read-only.
        outputs : sequence of float32 arrays
            C-contiguous and writeable; filled.
        batch : int
            Images in every array.
        seconds : float64 array (steps,), optional
            Receives the time of each step, added up over the batch.
        """
        cdef float *externals[MN_MAX_EXTERNALS]
        cdef float *arena
        cdef double[::1] clock
        cdef double *times = NULL
        cdef Py_ssize_t i
        cdef int failed, threads = mn_get_num_threads()
        cdef Py_ssize_t memory = self._program.arena + threads * self._program.workspace
        cdef Py_ssize_t each = self._program.arena + self._program.workspace
        cdef int abreast = 1 < threads <= batch and each <= _MOST_FLOATS_ABREAST // threads
        cdef object expected
        arrays = [*inputs, *outputs]
        if len(arrays) != self._program.externals or len(inputs) != self._inputs:
            raise ArgumentError(f"expected {self._program.externals} arrays, got {len(arrays)}")
        for i, array in enumerate(arrays):
            if array.dtype != _FLOAT32 or not array.flags.c_contiguous:
                raise DTypeError(f"expected a C-contiguous float32 array, got {array.dtype}")
            expected = <object>batch * self._program.stride[i]      # in Python's integers, which do not overflow
            if array.size != expected:
                raise ShapeError(f"expected {expected} values, got shape {array.shape}")
            if batch == 0 or array.size == 0:
                return
            if i >= self._inputs and not array.flags.writeable:
                raise ArgumentError("an output array must be writeable")
            externals[i] = _first_float(array)          # kernels take inputs as const
        if seconds is not None:
            if seconds.dtype != np.float64 or seconds.shape != (self._program.count,):
                raise ShapeError(f"expected {self._program.count} times as float64, got {seconds.shape} {seconds.dtype}")
            if self._program.count:
                clock = seconds
                times = &clock[0]
        if abreast:
            memory = threads * each
        try:
            scratch = self._arenas.pop()
        except IndexError:
            scratch = _aligned(memory)
        if scratch.size < memory:       # more threads than last time
            scratch = _aligned(memory)
        arena = _first_float(scratch)
        with nogil:
            failed = mn_run(&self._program, externals, batch, arena, threads, abreast, times)
        self._arenas.append(scratch)
        if failed:
            raise MemoryError("no memory for the counters of a parallel run")


cdef _checked_floats(what, count):
    if not 0 <= count <= _MOST_FLOATS:
        raise ShapeError(f"{what} would take {count} floats; 0 to 2^40 are possible")
    return count


cdef list _parts(step):
    """The steps that a step is fused of, in the order in which they compute. None for None."""
    return [] if step is None else [*_parts(step.first), step, *_parts(step.last)]


cdef int _check_sizes(step) except -1:
    """Refuse a step with a tensor, or scratch memory, whose size overflows or nobody can have."""
    for part in _parts(step):
        for c, h, w in (*part.inputs, part.output):
            if min(c, h, w) < 1:
                raise ShapeError(f"step {part.kernel}: {c}x{h}x{w} is no size of a tensor")
            _checked_floats(f"step {part.kernel}: {c}x{h}x{w}", (c + MN_BLOCK - 1) * h * w)
        _checked_floats(f"step {part.kernel}: scratch memory", part.workspace)
        if "depthwise" in part.kernel and part.slots < part.two_rows:
            raise MininetError(f"step {part.kernel}: {part.slots} rows do not hold the windows of two output rows")
    if step.last is not None:
        if step.last.reads[0] != step.output or step.turn < 1 or step.workspace < step.scratch_in_turns:
            raise MininetError(f"step {step.kernel}: {step.last.kernel} cannot follow in turns of {step.turn} rows")
    return 0


cdef mn_extent _extent(image, bint planar):
    cdef mn_extent e
    e.c, e.h, e.w = image
    e.lanes = 1 if planar else MN_BLOCK
    return e


cdef int _place(mn_step *s, step, sources, target, list spaces) except -1:
    """Where the operands of a step lie. A fused step reads what its first part reads, and the residual of its last."""
    cdef Py_ssize_t i
    cdef const mn_step *reader = s if s.first == NULL else s.first
    cdef const mn_step *writer = s if s.last == NULL else s.last
    if len(sources) != len(step.reads):
        raise MininetError(f"step {step.kernel}: expected {len(step.reads)} inputs, got {len(sources)}")
    s.inputs = len(sources)
    for i, operand in enumerate(sources):
        s.x[i].space, s.x[i].offset = _inside((writer if i else reader).in_[i], operand, spaces, step.kernel)
    s.y.space, s.y.offset = _inside(writer.out, target, spaces, step.kernel, _padded(s.out.c) if s.means else 0)
    return 0


cdef _inside(mn_extent e, operand, list sizes, kernel, Py_ssize_t behind=0):
    """Check that an operand, and so many floats behind it, lie inside its space."""
    space, offset = operand
    size = e.h * e.w * (e.c if e.lanes == 1 else _padded(e.c)) + behind
    if not (0 <= space < len(sizes) and 0 <= offset and offset + size <= sizes[space]):
        raise MininetError(f"step {kernel}: {size} floats at {operand} lie outside of {sizes}")
    return operand


cdef Py_ssize_t _padded(Py_ssize_t channels):
    """Channels rounded up to whole blocks."""
    return (channels + MN_BLOCK - 1) // MN_BLOCK * MN_BLOCK


cdef float *_first_float(array) except NULL:
    """Where a contiguous array begins, which its caller holds; a typed view would take five times as long."""
    cdef Py_buffer buffer
    PyObject_GetBuffer(array, &buffer, PyBUF_SIMPLE)
    PyBuffer_Release(&buffer)
    return <float *>buffer.buf


cdef _aligned(Py_ssize_t count):
    """Zeros that start on a cache line; never empty."""
    cdef Py_ssize_t slack = ALIGNMENT // sizeof(float)
    buffer = np.zeros(count + 2 * slack, np.float32)
    start = (-(<Py_ssize_t>buffer.ctypes.data) % ALIGNMENT) // sizeof(float)
    return buffer[start : start + count + slack]
