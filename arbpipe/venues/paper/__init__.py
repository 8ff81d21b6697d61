"""The paper venue: the same gateway interface, fills simulated from live rows.

Owns an account of its own (cash, positions, orders) in its own SQLite file, so that the ledger has something to be
reconciled with. Touches shared memory read-only. Promises: an order is executed once however often it is sent; a quote that
was taken is not there to be taken again; what it states is exactly what it booked.
"""
