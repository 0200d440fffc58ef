#!/usr/bin/env python3
"""lazy.py FOLDER: static libcuda.a, libcublas.a, ... whose functions find the real ones when the program starts.

A program that links NVIDIA's libraries in the usual way does not start where they are missing. One that links these
does: each function is a jump through a table, filled at start by dlopen and dlsym, or left on an answer that says "no
device". Give FOLDER to cargo as S3ROUTER_LAZY_CUDA. Linux on x86-64 or aarch64; needs cc, ar and this project's crates
(`cargo fetch`), from whose cudarc it takes the names.
"""
import json
import pathlib
import re
import subprocess
import sys

# library: (cudarc's module, names tried, answer without the library)
LIBRARIES = {
    "cuda": ("driver", ["libcuda.so.1"], 100),  # CUDA_ERROR_NO_DEVICE
    "cublas": ("cublas", ["libcublas.so.13", "libcublas.so.12"], 1),  # CUBLAS_STATUS_NOT_INITIALIZED
    "cublasLt": ("cublaslt", ["libcublasLt.so.13", "libcublasLt.so.12"], 1),
    "curand": ("curand", ["libcurand.so.10"], 203),  # CURAND_STATUS_INITIALIZATION_FAILED
    "nvrtc": ("nvrtc", ["libnvrtc.so.13", "libnvrtc.so.12"], 5),  # NVRTC_ERROR_INVALID_OPTION
    "cudart": (None, ["libcudart.so.13", "libcudart.so.12"], 100),
}
# What the objects of candle-kernels that nvcc compiles ask of the runtime.
CUDART = """__cudaGetKernel __cudaLaunchKernel_ptsz __cudaPopCallConfiguration __cudaPushCallConfiguration
__cudaRegisterFatBinary __cudaRegisterFatBinaryEnd __cudaRegisterFunction __cudaRegisterVar __cudaUnregisterFatBinary
cudaDeviceGetAttribute cudaFree cudaFreeAsync_ptsz cudaFuncGetAttributes cudaFuncSetAttribute cudaGetDevice
cudaGetDeviceCount cudaGetErrorName cudaGetErrorString cudaGetLastError cudaMalloc cudaMallocAsync_ptsz
cudaMemsetAsync_ptsz cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags cudaPeekAtLastError cudaSetDevice
cudaStreamSynchronize_ptsz""".split()


def cudarc():
    """The folder of cudarc's sources."""
    root = pathlib.Path(__file__).parents[2]
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--all-features", "--manifest-path", root / "Cargo.toml"]
    packages = json.loads(subprocess.check_output(command))["packages"]
    [manifest] = [p["manifest_path"] for p in packages if p["name"] == "cudarc"]
    return pathlib.Path(manifest).parent / "src"


def names(module, prefix):
    declared = re.findall(r"^ +fn (\w+)", (module / "sys" / "mod.rs").read_text(), re.MULTILINE)
    return sorted({n for n in declared if n.startswith("cu" if prefix == "cuda" else prefix)})


def source(library, symbols, sonames, answer):
    """C: the table, how it is filled, and one jump per function."""
    yield "#define _GNU_SOURCE\n#include <dlfcn.h>\n"
    yield f"static long missing(void) {{ return {answer}; }}"
    yield f'__attribute__((visibility("hidden"))) void *{library}_table[{len(symbols)}];'
    yield "static const char *const names[] = {" + ", ".join(f'"{s}"' for s in symbols) + "};"
    yield "static const char *const files[] = {" + ", ".join(f'"{s}"' for s in sonames) + "};"
    yield "__attribute__((constructor(101))) static void fill(void) {"
    yield "  void *found = 0;"
    # Without a driver the others are useless, and some crash.
    yield '  if (dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL))'
    yield "    for (unsigned i = 0; !found && i < sizeof files / sizeof *files; i++)"
    yield "      found = dlopen(files[i], RTLD_NOW | RTLD_GLOBAL);"
    yield f"  for (int i = 0; i < {len(symbols)}; i++) {{"
    yield "    void *function = found ? dlsym(found, names[i]) : 0;"
    yield f"    {library}_table[i] = function ? function : (void *)missing;"
    yield "  }\n}"
    for i, symbol in enumerate(symbols):
        x86 = f".globl {symbol}\\n.type {symbol},@function\\n{symbol}: jmp *{library}_table+{8 * i}(%rip)\\n"
        page, rest = f"{library}_table+{8 * i}", f":lo12:{library}_table+{8 * i}"
        arm = f".globl {symbol}\\n.type {symbol},%function\\n{symbol}: adrp x16,{page}\\n ldr x16,[x16,{rest}]\\n br x16\\n"
        yield f'#if defined(__x86_64__)\n__asm__(".text\\n{x86}");\n#else\n__asm__(".text\\n{arm}");\n#endif'


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    modules = cudarc()
    for library, (module, sonames, answer) in LIBRARIES.items():
        symbols = names(modules / module, library) if module else CUDART
        code, unit = "\n".join(source(library, symbols, sonames, answer)), folder / f"lazy_{library}.c"
        archive = folder / f"lib{library}.a"
        if archive.exists() and unit.exists() and unit.read_text() == code:
            continue
        unit.write_text(code)
        subprocess.check_call(["cc", "-O1", "-fPIC", "-c", unit, "-o", unit.with_suffix(".o")])
        archive.unlink(missing_ok=True)
        subprocess.check_call(["ar", "rcs", archive, unit.with_suffix(".o")])


main()
