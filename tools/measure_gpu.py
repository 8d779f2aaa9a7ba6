#!/usr/bin/env python3
"""Measures kernels on a GPU of your own, as a table that `trainyard calibrate` reads.

    python3 tools/measure_gpu.py --device my_gpu > my_gpu.csv
    trainyard calibrate my_gpu.csv --device topologies/devices/my_gpu.yaml --out my_gpu.yaml

Needs PyTorch with CUDA or ROCm. Each kernel runs once to warm up and then in batches between two events on the
device's own clock, with the last-level cache flushed before each run; the median of the runs is written. Clocks are
left as they are: lock them (`nvidia-smi -lgc`) where the numbers shall not depend on how warm the device is.

NOT RUN where trainyard was written, for want of a GPU there: check the first table against what you know of your
device, and tell us what does not fit.
"""

import argparse
import csv
import statistics
import sys

try:
    import torch
    import torch.nn.functional as F
except ImportError:
    sys.exit("measure_gpu.py needs PyTorch: https://pytorch.org/get-started")

COLUMNS = ["id", "source", "device", "op", "dtype", "batch", "m", "n", "k", "heads", "kv_heads", "head_dim",
           "sequence", "past", "causal", "elements", "time_us"]
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "f32": torch.float32}
FLUSH_BYTES = 256 << 20  # more than any last-level cache


def timed(run, repeats):
    """The median time of `run`, in microseconds of the device's clock."""
    flush = torch.empty(FLUSH_BYTES, dtype=torch.int8, device="cuda")
    run()
    times = []
    for _ in range(repeats):
        flush.zero_()
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        run()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) * 1e3)
    return statistics.median(times)


def gemms(dtype):
    """Products of the sizes that transformers have, and some that fill waves badly."""
    for m in (1, 16, 128, 512, 1024, 2048, 4096, 8192):
        for n, k in ((1024, 1024), (4096, 4096), (12288, 4096), (4096, 16384), (5120, 5120), (50304, 4096)):
            if m * n + m * k + n * k < 2**31:
                yield {"op": "gemm", "batch": 1, "m": m, "n": n, "k": k}, gemm(m, n, k, dtype)


def gemm(m, n, k, dtype):
    def make():
        x = torch.randn(m, k, device="cuda", dtype=dtype)
        w = torch.randn(k, n, device="cuda", dtype=dtype)
        return lambda: x @ w
    return make


def attentions(dtype):
    """Causal attention of a training step, forward."""
    for batch, heads, head_dim, sequence in ((1, 32, 128, 2048), (4, 32, 128, 2048), (1, 32, 128, 8192),
                                             (8, 16, 64, 1024), (2, 40, 128, 4096), (16, 12, 64, 512)):
        shape = {"op": "attention", "batch": batch, "heads": heads, "kv_heads": heads, "head_dim": head_dim,
                 "sequence": sequence, "causal": "true"}
        yield shape, attention(batch, heads, head_dim, sequence, dtype)


def attention(batch, heads, head_dim, sequence, dtype):
    def make():
        q, k, v = (torch.randn(batch, heads, sequence, head_dim, device="cuda", dtype=dtype) for _ in range(3))
        return lambda: F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return make


def streams(dtype):
    """Kernels that are bound by memory."""
    for elements in (1 << 16, 1 << 20, 1 << 22, 1 << 24, 1 << 26):
        yield {"op": "add", "elements": elements}, pointwise(elements, dtype, lambda x, y: x + y)
        yield {"op": "gelu", "elements": elements}, pointwise(elements, dtype, lambda x, _: F.gelu(x))
        yield {"op": "copy", "elements": elements}, pointwise(elements, dtype, lambda x, _: x.clone())
    for rows, width in ((128, 4096), (2048, 4096), (8192, 4096), (8192, 12288), (16384, 1024)):
        yield {"op": "layer_norm", "elements": rows * width, "n": width}, norm(rows, width, dtype)
        yield {"op": "softmax", "elements": rows * width, "n": width}, softmax(rows, width, dtype)


def pointwise(elements, dtype, function):
    def make():
        x, y = (torch.randn(elements, device="cuda", dtype=dtype) for _ in range(2))
        return lambda: function(x, y)
    return make


def norm(rows, width, dtype):
    def make():
        x = torch.randn(rows, width, device="cuda", dtype=dtype)
        gain, bias = (torch.randn(width, device="cuda", dtype=dtype) for _ in range(2))
        return lambda: F.layer_norm(x, (width,), gain, bias)
    return make


def softmax(rows, width, dtype):
    def make():
        x = torch.randn(rows, width, device="cuda", dtype=dtype)
        return lambda: torch.softmax(x, -1)
    return make


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", required=True, help="what the device's file calls it")
    parser.add_argument("--dtype", default="bf16", choices=DTYPES)
    parser.add_argument("--repeats", type=int, default=30)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("measure_gpu.py needs a GPU that PyTorch can use")
    dtype = DTYPES[arguments.dtype]
    source = f"measured by tools/measure_gpu.py on {torch.cuda.get_device_name()}, PyTorch {torch.__version__}"
    writer = csv.DictWriter(sys.stdout, COLUMNS, restval="")
    writer.writeheader()
    for number, (shape, make) in enumerate([*gemms(dtype), *attentions(dtype), *streams(dtype)]):
        try:
            time = timed(make(), arguments.repeats)
        except torch.cuda.OutOfMemoryError:
            print(f"left out for want of memory: {shape}", file=sys.stderr)
            continue
        about = {"id": f"{shape['op']}_{number}", "source": source, "device": arguments.device,
                 "dtype": arguments.dtype}
        writer.writerow({**about, **shape, "time_us": f"{time:.3f}"})
        print(f"{shape} {time:.1f} us", file=sys.stderr)


if __name__ == "__main__":
    main()
