"""arbpipe: finds and takes arbitrage in binary markets on Kalshi and Polymarket.

Read the package in the direction a price travels: ``venues`` turn frames into books, ``shm`` carries rows between
processes, ``catalog`` says which claims cover which states, ``detector`` finds covers that cost less than they pay,
``executor`` takes them within ``risk`` limits and writes the ``ledger``.
"""

__version__ = "0.1.0"
