"""What one request may cost at the edge, and why: the one place for these numbers (decision 0030).

The platform gives a sandbox 128 MiB, 50 ms of the processor's time and 32 requests to backends; past any of them it is
ended, whatever it had done. So each limit ends earlier, before the swap, and says what to do.
"""

from __future__ import annotations

from typing import Final

from virke.engine.allowance import Limits

MIB: Final = 1 << 20

LIMITS: Final = Limits(
    # A cold lookup needs 4. Each costs about 9 ms where it misses the nearest copy, and 64 may be under way at once.
    lookups=64,
    # Of the platform's 32, 8 are left for the program's own requests.
    requests=24,
    # 16 parts of 256 KiB. Inflating them takes 20 to 40 ms, so no query that needs more ends within its time.
    read_bytes=4 * MIB,
    # Of the platform's 50 ms: 3 pass before the first line runs, and a step of upkeep after the answer takes up to 5.
    cpu_ms=40,
    # To encode and send 3 MiB of changed pages takes up to 10 ms.
    commit_cpu_ms=30,
    # A turn or a pace lasts longer than anybody waits for an answer; a client that comes again costs nothing meanwhile.
    wait_s=2.0,
    # Of 128 MiB Python, Virke and the image take 17, and what follows 63: it stays below 96, where C code still gets
    # memory. Past 128 Python raises an error, but C code ends the sandbox.
    frames_bytes=24 * MIB,
    caches_bytes=4 * MIB,
    work_bytes=16 * MIB,
    # As rows and as JSON at the same time it takes up to three times this.
    result_bytes=8 * MIB,
    # Less than what is stored part by part under a turn (`storing.LONG_BYTES`): it is one round, before the swap.
    written_bytes=3 * MIB,
    # A cold request reads the index of each, and has 24 requests to object storage; upkeep in steps keeps about 6.
    segments_max=16,
    # A quarter of a root, about. A spill takes 600 bytes of it, a merge about four for each of its pages; what has no room is read.
    recent_bytes=12 << 10,
    # One for the hints of what is in progress, one for its last link, one for the root, and parts of two segments.
    step_lookups=8,
    # Of both together, half of each (`chain_step.Bounds`): as much as fits into 15 million wasm instructions, of which roots,
    # indexes and places take 6. With 64 and 24 KiB, steps fall behind one insert of 2.4 KB of what can't be compressed each.
    step_decoded_bytes=112 << 10,
    step_encoded_bytes=42 << 10,
    # Parts of what is moved (core/moving): with up to five lookups for both together, and no work but to hand over 512 KiB.
    step_copies=2,
)
