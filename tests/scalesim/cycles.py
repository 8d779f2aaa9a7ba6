"""Cycles of GEMMs on a systolic array as SCALE-Sim prints them, for tests/suite/scalesim.rs.

Reads lines `rows columns os|ws|is m n k` on standard input and answers each with the total cycles of a
stall-free run (bandwidth "CALC": as much as is needed). Needs `pip install scalesim==3.0.0 "numpy<2.4"`;
exits with 77 if either is missing, so that the caller can skip.
"""

import contextlib
import csv
import io
import os
import sys
import tempfile

try:
    import numpy
    from scalesim.scale_sim import scalesim
except ImportError as missing:
    print(f"{missing}; install scalesim==3.0.0 and numpy<2.4", file=sys.stderr)
    sys.exit(77)

# scalesim 3.0.0 assigns one-element arrays to scalars, which numpy 2.4 no longer allows.
if tuple(int(part) for part in numpy.__version__.split(".")[:2]) >= (2, 4):
    print(f"numpy {numpy.__version__} is too new for scalesim 3.0.0", file=sys.stderr)
    sys.exit(77)

CONFIG = """\
[general]
run_name = run
[architecture_presets]
ArrayHeight: {rows}
ArrayWidth: {columns}
IfmapSramSzkB: 1024
FilterSramSzkB: 1024
OfmapSramSzkB: 1024
IfmapOffset: 0
FilterOffset: 10000000
OfmapOffset: 20000000
Bandwidth: 100
Dataflow: {dataflow}
MemoryBanks: 1
ReadRequestBuffer: 32
WriteRequestBuffer: 32
[layout]
IfmapCustomLayout: False
IfmapSRAMBankBandwidth: 10
IfmapSRAMBankNum: 10
IfmapSRAMBankPort: 2
FilterCustomLayout: False
FilterSRAMBankBandwidth: 10
FilterSRAMBankNum: 10
FilterSRAMBankPort: 2
[sparsity]
SparsitySupport: false
SparseRep: ellpack_block
OptimizedMapping: false
BlockSize: 8
RandomNumberGeneratorSeed: 40
[run_presets]
InterfaceBandwidth: CALC
UseRamulatorTrace: False
"""


def cycles(rows, columns, dataflow, m, n, k):
    with tempfile.TemporaryDirectory() as folder:
        write = lambda name, text: open(os.path.join(folder, name), "w").write(text)
        write("array.cfg", CONFIG.format(rows=rows, columns=columns, dataflow=dataflow))
        write("gemm.csv", f"Layer, M, N, K,\nproduct, {m}, {n}, {k},\n")
        # A layout is read even where none is used.
        fields = ", ".join(["1"] * 10)
        header = ", ".join(f"field {number}" for number in range(10))
        write("layout.csv", f"Layer, {header},\nproduct, {fields},\n")
        path = lambda name: os.path.join(folder, name)
        # The tool talks, and its progress bars too: standard output carries the cycles alone.
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            simulation = scalesim(
                save_disk_space=True,
                verbose=False,
                config=path("array.cfg"),
                topology=path("gemm.csv"),
                layout=path("layout.csv"),
                input_type_gemm=True,
            )
            simulation.run_scale(top_path=folder)
        with open(os.path.join(folder, "run", "COMPUTE_REPORT.csv")) as report:
            row = next(csv.DictReader(report, skipinitialspace=True))
        assert float(row["Stall Cycles"]) == 0, row
        return int(float(row["Total Cycles"]))


for line in sys.stdin:
    rows, columns, dataflow, *shape = line.split()
    print(cycles(int(rows), int(columns), dataflow, *map(int, shape)), flush=True)
