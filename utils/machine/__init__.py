"""What a run has to do with the machine: devices, processes, cores, signals."""
