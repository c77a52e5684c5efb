"""What every training shares: the loop, its state on disk, several processes, batches of labelled frames."""
