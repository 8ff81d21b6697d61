"""The shared-memory plane: what every process maps and what each may write.

Owns the layout, the lifecycle of the segment, locks and roles, and the four protocols (row latch, change log,
opportunity ring, statistics). Touches tmpfs and nothing else; imports no venue, catalog, detector or executor. Promises
that a reader never blocks a writer, that a killed writer never jams a reader, and that what is read is either whole or
refused. ``docs/architecture.md`` draws it.
"""
