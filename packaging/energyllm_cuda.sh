#!/bin/sh
# Starts energyllm with llama.cpp's CUDA backend; `./x cuda` puts it beside the folder `lib` that holds both.
#
# llama.cpp's libraries do not know where they are, so this says it. Those of CUDA come from the system, and a program that
# misses one of them dies in the system's loader, with a line that knows no mend.
lib=$(dirname "$(readlink -f "$0")")/lib
export LD_LIBRARY_PATH="$lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
missing=$(ldd "$lib/libggml-cuda.so.0" | awk '/not found/ { printf " %s", $1 }')
case $missing in
    '') exec "$lib/energyllm" "$@" ;;
    *libcuda.so*) mend="install the driver of the GPU (580 or later for CUDA 13), and with it the libraries of CUDA" ;;
    *) mend="install these libraries of CUDA, or name their folder in LD_LIBRARY_PATH" ;;
esac
echo "energyllm: this build is for NVIDIA GPUs, and the system lacks$missing; $mend, or take a build for the CPU" >&2
exit 2
