"""PostgreSQL's advisory locks that we take: one list, so that no two uses share a number."""

from enum import IntEnum, unique


@unique
class AdvisoryLock(IntEnum):
    """What is done by one process at a time; the numbers are ours in the whole database."""

    MIGRATION = 0x5A7_0001  # bringing the schema up to date
    ELECTION = 0x5A7_0002  # who reconciles
    TASKS = 0x5A7_0003  # choosing tasks for models, making models live (shared); new image sets, comparisons (alone)
    GPU = 0x5A7_0005  # computing on a GPU: the first of two numbers, the second says which
    QUOTA = 0x5A7_0004  # comparing the sum of all artifacts with the quota
