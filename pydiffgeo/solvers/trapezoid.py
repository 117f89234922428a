"""The trapezoidal rule (Crank & Nicolson): order 2, A-stable.

What is fast is damped slowly, not at once as by the L-stable methods. Error from the difference to
implicit Euler.
"""

from pydiffgeo.solvers.tableau import Tableau

TABLEAU = Tableau(
    name="trapezoid",
    A=((0.0, 0.0), (0.5, 0.5)),
    b_hat=(0.0, 1.0),
    order=2,
    error_order=2,
    source="Hairer & Wanner (1996), Solving Ordinary Differential Equations II, section IV.3",
)
