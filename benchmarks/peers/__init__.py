"""One file per peer: each reads a request, measures, and prints its record as one JSON line."""
