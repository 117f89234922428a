"""Two-stage SDIRK of order 2, L-stable: gamma = 1 - 1/sqrt(2).

The embedded weights are those of the quadrature through the times 0, gamma and 1 that is exact for
quadratics; they use the rates at the start of the step, which the solution itself does not.
"""

import math

from pydiffgeo.solvers.tableau import Tableau

G = 1 - 1 / math.sqrt(2)
B1 = 1 / (6 * G * (1 - G))
B2 = 0.5 - B1 * G

TABLEAU = Tableau(
    name="sdirk2",
    A=((0.0, 0.0, 0.0), (0.0, G, 0.0), (0.0, 1 - G, G)),
    b_hat=(1 - B1 - B2, B1, B2),
    order=2,
    error_order=3,
    source="Alexander (1977), SIAM J. Numer. Anal. 14, 1006-1021, doi:10.1137/0714068",
)
