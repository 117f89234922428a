"""TR-BDF2 as an ESDIRK of order 2 with an embedded formula of order 3."""

import math

from pydiffgeo.solvers.tableau import Tableau

D = 1 - math.sqrt(2) / 2
W = math.sqrt(2) / 4

TABLEAU = Tableau(
    name="trbdf2",
    A=((0.0, 0.0, 0.0), (D, D, 0.0), (W, W, D)),
    b_hat=((1 - W) / 3, (3 * W + 1) / 3, D / 3),
    order=2,
    error_order=3,
    source="Hosea & Shampine (1996), Appl. Numer. Math. 20, 21-37, "
    "doi:10.1016/0168-9274(95)00115-8",
)
