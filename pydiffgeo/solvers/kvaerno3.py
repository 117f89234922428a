"""Kvaerno's ESDIRK 3(2): three implicit stages, L-stable, stiffly accurate."""

from pydiffgeo.solvers.tableau import Tableau

G = 0.43586652150845899941601945
A2 = (-4 * G**2 + 6 * G - 1) / (4 * G), (1 - 2 * G) / (4 * G), G
A3 = (6 * G - 1) / (12 * G), -1 / ((24 * G - 12) * G), (-6 * G**2 + 6 * G - 1) / (6 * G - 3), G

TABLEAU = Tableau(
    name="kvaerno3",
    A=((0.0, 0.0, 0.0, 0.0), (G, G, 0.0, 0.0), (*A2, 0.0), A3),
    b_hat=(*A2, 0.0),
    order=3,
    error_order=3,
    source="Kvaerno (2004), BIT 44, 489-502, doi:10.1023/B:BITN.0000046811.70614.38",
)
