"""
Methods and sensitivities of SciML for the models of DiffGeo.

The unknowns are the state u, whose rate is f / C with the capacity C = dm/du, and behind them the integrals of the fluxes since the
start of the interval. A forcing interval is a problem of its own, since forcing jumps between two; its parameter vector holds the
parameters of the column and the forcing of the interval.
"""
module DiffGeoSciMLExt

using DiffEqBase: DEVerbosity
using DiffGeo: DiffGeo, Cotangents, Field, Inputs, Linearisation, Model, Results, SciMLOptions, SciMLRun, Stop, add!,
    add_flux_slopes!,
    add_transposed!, bind!, column, each_column, flush!, flux_states, given, intervals, linearise!, load, pull!, release!, spec,
    statesize, wanted,
    widths, worker_count
using ForwardDiff: ForwardDiff, Dual, partials, value
using LinearAlgebra: I, kron
using LinearSolve: LinearSolve
using OrdinaryDiffEqBDF: FBDF, QNDF
using OrdinaryDiffEqFIRK: RadauIIA5
using OrdinaryDiffEqRosenbrock: Rodas5P
using OrdinaryDiffEqSDIRK: KenCarp3, KenCarp4, TRBDF2
using SciMLBase: SciMLBase, FullSpecialize, ODEFunction, ODEProblem, ReturnCode, remake, solve
using SciMLLogging: ErrorLevel, SciMLLogging
using SciMLSensitivity: ForwardSensitivity, GaussAdjoint, InterpolatingAdjoint, ODEAdjointProblem, ODEForwardSensitivityProblem,
    QuadratureAdjoint, adjoint_sensitivities
using SparseArrays: SparseMatrixCSC, nonzeros, nzrange, rowvals, sparse, spzeros

include("sciml/duals.jl")
include("sciml/linear.jl")
include("sciml/equations.jl")
include("sciml/forward.jl")
include("sciml/tangents.jl")
include("sciml/backward.jl")

end
