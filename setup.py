"""Build the one extension module: C kernels plus their Cython door.

Each file in csrc/isa raises the instruction set for itself by a pragma, so the whole build needs one
set of portable flags. No -ffast-math, no -march=native: a wheel runs on any CPU of its architecture.
"""

import os
import sys
from glob import glob

from Cython.Build import cythonize
from setuptools import Extension, setup

if sys.platform == "win32":
    flags, link = ["/O2", "/std:c11"], []
else:
    # -ffp-contract=off: a fused multiply-add happens where a kernel asks for one and nowhere else.
    flags = ["-std=c11", "-O3", "-ffp-contract=off", "-g0", "-fvisibility=hidden", "-Wall", "-Wextra"]
    extra = os.environ.get("MININET_CFLAGS", "").split()  # for compiler and linker, as a sanitizer needs
    flags, link = flags + extra, ["-lm", "-pthread", *extra]

native = Extension(
    "mininet._native",
    sources=["mininet/_native.pyx", *sorted(glob("csrc/*.c")), *sorted(glob("csrc/isa/*.c"))],
    depends=sorted(glob("csrc/**/*.[ch]", recursive=True)),
    include_dirs=["csrc"],
    define_macros=[("CYTHON_CLINE_IN_TRACEBACK", "0")],
    extra_compile_args=flags,
    extra_link_args=link,
)

setup(ext_modules=cythonize([native]))
