"""The executor: from an opportunity to lots, and to nothing worse.

Owns the gates, the second proof, the plan, the attempt's legs and their aftermath. Touches the ledger (which it alone
writes), the breaker and the venues' gateways through ``venues.base``. Promises: nothing is sent that was not stored first,
nothing is sent twice, an unknown outcome stays reserved, and legs that do not match are completed or unwound within a budget.
"""
