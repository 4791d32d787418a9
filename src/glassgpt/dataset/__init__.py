"""Ids to batches: token shards on disk, and deterministic batches that resume exactly."""
