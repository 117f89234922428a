# Singly diagonally implicit, stiffly accurate Runge-Kutta methods.

"""
    Tableau

Stage 1 is the known state at the start of the step, the others are implicit with the same diagonal. The last row of `A`
holds the weights of the solution, `b_hat` those of the embedded one, whose error falls with the power `error_order` of the
step.
"""
struct Tableau
    name::String
    A::Matrix{Float64}
    b_hat::Vector{Float64}
    error_order::Int
    times::Vector{Float64}
    explicit::Bool
end

function Tableau(name, rows, b_hat, error_order)
    A = permutedims(reduce(hcat, collect.(rows)))
    # the rates at the start of the step enter the solution, or only the error estimate
    explicit = any(!iszero, @view A[2:end, 1])
    return Tableau(name, A, collect(b_hat), error_order, vec(sum(A; dims=2)), explicit)
end

"Number of implicit stages."
stages(t::Tableau) = size(t.A, 1) - 1
"The diagonal."
gamma(t::Tableau) = t.A[end, end]

"Implicit Euler; its error is the difference to the trapezoidal rule. Hairer & Wanner (1996), section IV.3."
implicit_euler() = Tableau("implicit_euler", ((0.0, 0.0), (0.0, 1.0)), (0.5, 0.5), 2)

"The trapezoidal rule, A-stable; its error is the difference to implicit Euler. Hairer & Wanner (1996), section IV.3."
trapezoid() = Tableau("trapezoid", ((0.0, 0.0), (0.5, 0.5)), (0.0, 1.0), 2)

"Order 2, L-stable. Alexander (1977), doi:10.1137/0714068; embedded quadrature through the times 0, g and 1."
function sdirk2()
    g = 1 - 1 / sqrt(2)
    b1 = 1 / (6g * (1 - g))
    b2 = 0.5 - b1 * g
    return Tableau("sdirk2", ((0.0, 0.0, 0.0), (0.0, g, 0.0), (0.0, 1 - g, g)), (1 - b1 - b2, b1, b2), 3)
end

"Hosea & Shampine (1996), doi:10.1016/0168-9274(95)00115-8."
function trbdf2()
    d, w = 1 - sqrt(2) / 2, sqrt(2) / 4
    return Tableau("trbdf2", ((0.0, 0.0, 0.0), (d, d, 0.0), (w, w, d)), ((1 - w) / 3, (3w + 1) / 3, d / 3), 3)
end

"ESDIRK 3(2), L-stable. Kvaerno (2004), doi:10.1023/B:BITN.0000046811.70614.38."
function kvaerno3()
    g = 0.43586652150845899941601945
    a2 = ((-4g^2 + 6g - 1) / (4g), (1 - 2g) / (4g), g)
    a3 = ((6g - 1) / (12g), -1 / ((24g - 12) * g), (-6g^2 + 6g - 1) / (6g - 3), g)
    return Tableau("kvaerno3", ((0.0, 0.0, 0.0, 0.0), (g, g, 0.0, 0.0), (a2..., 0.0), a3), (a2..., 0.0), 3)
end

"The methods whose discrete adjoint this package has, by name."
const METHODS = Dict(t.name => t for t in (implicit_euler(), trapezoid(), sdirk2(), trbdf2(), kvaerno3()))
