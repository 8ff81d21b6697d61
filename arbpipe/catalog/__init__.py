"""The catalog: which claims pay in which states, and which sets of them pay at least k dollars.

Owns the way from ``pairs.toml`` (``schema``, ``instruments``, ``pairs``) over the states that its relations allow
(``states``) to propositions and covers (``covers``), in the words of ``model``. Touches one file and nothing else: no
clock, no network, no shared memory; of the venues it knows only how their listings state a fee. Promises that every
cover was proved by enumerating all states of its group, that nothing is inferred which a person did not assert, and
that an instrument of which something needed is unknown is listed but a member of no cover.
"""
