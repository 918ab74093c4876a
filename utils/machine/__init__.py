"""The machine that a run uses: devices, processes, cores, memory, signals, locks."""
