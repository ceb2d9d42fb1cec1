"""Pretraining, the epoch, checkpoints and run directories."""
