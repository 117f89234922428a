"""Implicit Euler: order 1, L-stable, keeps positive states positive.

Error from the difference to the trapezoidal rule.
"""

from pydiffgeo.solvers.tableau import Tableau

TABLEAU = Tableau(
    name="implicit_euler",
    A=((0.0, 0.0), (0.0, 1.0)),
    b_hat=(0.5, 0.5),
    order=1,
    error_order=2,
    source="Hairer & Wanner (1996), Solving Ordinary Differential Equations II, section IV.3",
)
