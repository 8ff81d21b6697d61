"""The detector: from changed costs to opportunities.

Owns the kernel (best cost of each proposition, sum over each cover) and the sizing (exact fees, merged depth). Reads rows,
costs and the catalog's generation; writes the opportunity ring and its own half of ``cover_stats``. Knows no venue.
Promises that what it pushes was, at the versions it names, a cover whose edge clears the threshold after every fee.
"""
