"""Pure heart of Virke: formats, page map, commit protocol, upkeep plans. No I/O, clock, randomness or threads."""
