#!/usr/bin/env python3
"""Puts a CUDA 13.0 toolkit together from NVIDIA's wheels on PyPI: enough to compile and link for NVIDIA GPUs on an
x86-64 machine that has neither a GPU nor NVIDIA's packages, and without root.

    python3 packaging/cuda_toolkit.py FOLDER        # 0.5 GB to fetch, 0.9 GB on disk; needs pip and a C compiler

FOLDER becomes what CUDA_PATH means. The libraries with which the program runs are not in it: they come with the
driver and the toolkit of the machine that has the GPU. CUDA 12 cannot be made this way (its wheels hold no compiler).
"""

import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

WHEELS = {
    "nvidia-cuda-nvcc": "13.0.88",  # nvcc, cudafe++, ptxas, fatbinary, nvlink
    "nvidia-nvvm": "13.0.88",  # cicc and libdevice
    "nvidia-cuda-crt": "13.0.88",  # headers of the compiler
    "nvidia-cuda-runtime": "13.0.96",  # cuda.h, cuda_runtime.h, libcudart
    "nvidia-cuda-cccl": "13.0.85",  # CUB, Thrust, libcu++
    "nvidia-cublas": "13.0.2.14",  # cublas_v2.h, libcublas, only for the linker
}
# The wheels are named for several generations of Linux; pip takes none but those that are named here.
PLATFORMS = ["2014", "_2_17", "_2_27", "_2_28"]


def fetch(folder: Path) -> list[Path]:
    names = [f"{name}=={version}" for name, version in WHEELS.items()]
    platforms = [f"--platform=manylinux{platform}_x86_64" for platform in PLATFORMS]
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    pip += ["--python-version=3.12", "--implementation=cp", *platforms, "--dest", str(folder), *names]
    subprocess.run(pip, check=True)
    return sorted(folder.glob("*.whl"))


def unpack(wheel: Path, prefix: Path) -> None:
    """All wheels share one tree, `nvidia/cu13`, laid out as nvcc's own profile expects it."""
    with zipfile.ZipFile(wheel) as archive:
        for info in archive.infolist():
            inside = info.filename.removeprefix("nvidia/cu13/")
            if inside == info.filename or info.is_dir():
                continue
            target = prefix / inside
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(info) as source, target.open("wb") as file:
                while block := source.read(1 << 20):
                    file.write(block)
            # zipfile does not restore the permissions.
            if inside.startswith(("bin/", "nvvm/bin/")):
                target.chmod(0o755)


def link(place: Path, target: str) -> None:
    place.unlink(missing_ok=True)
    place.symlink_to(target)


def stub_driver(prefix: Path) -> int:
    """The driver's library is in no wheel. Linking needs its names only, so this one has them and does nothing."""
    text = (prefix / "include/cuda.h").read_text()
    names = set(re.findall(r"\bCUDAAPI\s+(cu[A-Z]\w+)\s*\(", text))
    # Macros lead many names to versions: `#define cuMemAlloc cuMemAlloc_v2`, some through __CUDA_API_PTSZ(...).
    names |= set(re.findall(r"#\s*define\s+cu[A-Z]\w+\s+(?:__CUDA_API_PT\w+\()?(cu[A-Z]\w+)", text))
    stubs = prefix / "lib/stubs"
    stubs.mkdir(exist_ok=True)
    source = stubs / "cuda.c"
    # 34 is CUDA_ERROR_STUB_LIBRARY.
    source.write_text("".join(f"int {name}(void) {{ return 34; }}\n" for name in sorted(names)))
    flags = ["-shared", "-fPIC", "-w", "-fno-builtin", "-Wl,-soname,libcuda.so.1"]
    subprocess.run(["cc", *flags, "-o", str(stubs / "libcuda.so"), str(source)], check=True)
    link(stubs / "libcuda.so.1", "libcuda.so")
    return len(names)


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    prefix = Path(sys.argv[1]).resolve()
    prefix.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=prefix) as folder:
        for wheel in fetch(Path(folder)):
            unpack(wheel, prefix)
    # CMake looks in lib64, and for names without versions.
    link(prefix / "lib64", "lib")
    for library in (prefix / "lib").glob("*.so.[0-9]*"):
        link(library.parent / (library.name.split(".so.")[0] + ".so"), library.name)
    names = stub_driver(prefix)
    subprocess.run([str(prefix / "bin/nvcc"), "--version"], check=True, stdout=subprocess.DEVNULL)
    print(f"CUDA toolkit in {prefix}, {names} functions in the driver's stub", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
