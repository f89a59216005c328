"""What a partition's log says of transactions: its batches and the markers that end them, read from the broker's files.

Offsets that are committed, and offsets that are not (aborted, or still open), told by producer id: independent of any
client's handling of aborted transactions. For logs that are neither compacted nor deleted from.
"""

import pathlib
import struct

# baseOffset, batchLength, partitionLeaderEpoch, magic, crc, attributes, lastOffsetDelta, baseTimestamp, maxTimestamp,
# producerId, producerEpoch, baseSequence, records (KIP-98)
HEADER = struct.Struct(">qiibIhiqqqhii")
TRANSACTIONAL, CONTROL = 0x10, 0x20
COMMIT = 1


def batches(data):
    """(base offset, last offset, attributes, producer id, the records' bytes) of each whole batch."""
    at = 0
    while at + HEADER.size <= len(data):
        base, length, _, magic, _, attributes, delta, _, _, producer, _, _, _ = HEADER.unpack_from(data, at)
        end = at + 12 + length
        if magic != 2 or length <= 0 or end > len(data):
            return
        yield base, base + delta, attributes, producer, data[at + HEADER.size : end]
        at = end


def marker(records):
    """The type of a control record: 0 abort, 1 commit. Length, attributes, deltas and key length are varints."""
    at = 0
    for field in range(5):
        if field == 1:
            at += 1  # the attributes are one byte
            continue
        while records[at] & 0x80:
            at += 1
        at += 1
    return struct.unpack_from(">hh", records, at)[1]


def judged(parts):
    """(committed, not committed) offsets of a partition whose segments' bytes are given in order."""
    committed, open_, aborted = set(), {}, set()
    for data in parts:
        for base, last, attributes, producer, records in batches(data):
            offsets = range(base, last + 1)
            if attributes & CONTROL:
                ended = open_.pop(producer, set())
                (committed if marker(records) == COMMIT else aborted).update(ended)
            elif attributes & TRANSACTIONAL:
                open_.setdefault(producer, set()).update(offsets)
            else:
                committed.update(offsets)
    return committed, aborted.union(*open_.values())


def of_partition(folder, topic, partition):
    files = sorted(pathlib.Path(folder, f"{topic}-{partition}").glob("*.log"))
    return judged(file.read_bytes() for file in files)
