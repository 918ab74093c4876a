"""The folder of an experiment: started by training, read by inference and evaluation."""
