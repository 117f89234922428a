"Differentiable process models of hydrology: stiff solvers in storage form with discrete adjoints."
module DiffGeo

using ForwardDiff: ForwardDiff, Dual, partials, value
using PrecompileTools: @compile_workload, @setup_workload
using SHA: sha256
using SIMD: SIMD, Vec, vifelse
using StaticArrays: StaticArrays, MMatrix, MVector, SMatrix, SVector
using TOML: TOML

include("errors.jl")
include("fastmath.jl")
include("lanes.jl")
include("tables.jl")
include("closures.jl")
include("weights.jl")
include("models/spec.jl")
include("models/slots.jl")
include("models/interface.jl")
include("models/richards/hydraulics/base.jl")
include("models/richards/hydraulics/van_genuchten.jl")
include("models/richards/hydraulics/vogel.jl")
include("models/richards/hydraulics/brooks_corey.jl")
include("models/richards/hydraulics/gardner.jl")
include("models/richards/hydraulics/haverkamp.jl")
include("models/richards/hydraulics/learned.jl")
include("models/richards/face_means.jl")
include("models/richards/boundaries.jl")
include("models/richards/root_uptake.jl")
include("solvers/tridiagonal.jl")
include("solvers/dense.jl")
include("solvers/sparse.jl")
include("models/richards/richards.jl")
include("models/richards/richards_pull.jl")
include("models/rates.jl")
include("models/cells.jl")
include("models/faces.jl")
include("models/user.jl")
include("models/hbv.jl")
include("models/exp_hydro.jl")
include("models/two_layer_bucket.jl")
include("models/rivers.jl")
include("models/vapour.jl")
include("models/streams.jl")
include("models/streams/stream_temperature.jl")
include("models/leaves/drivers.jl")
include("models/leaves/temperature.jl")
include("models/leaves/biochemistry.jl")
include("models/leaves/stomata.jl")
include("models/leaves/photosynthesis.jl")
include("models/leaves/widest.jl")
include("models/canopies/radiation.jl")
include("models/canopies/air.jl")
include("models/canopies/two_big_leaf.jl")
include("solvers/tableau.jl")
include("solvers/options.jl")
include("solvers/work.jl")
include("solvers/newton.jl")
include("solvers/integrate.jl")
include("solvers/adjoint.jl")
include("batch.jl")
include("solvers/lane_groups.jl")
include("solvers/lane_stage.jl")
include("solvers/lanes.jl")
include("solvers/lanes_adjoint.jl")
include("solvers/stationary_search.jl")
include("solvers/stationary.jl")
include("river.jl")
include("river_adjoint.jl")
include("sciml.jl")
include("solve.jl")
include("open.jl")
include("entry.jl")
include("functions.jl")
include("entry_points.jl")
include("rehearse.jl")
include("precompile.jl")

export Richards, RootUptake, VanGenuchten, VanGenuchtenVogel, BrooksCorey, Gardner, Haverkamp, Learned
export CellModel, FaceModel, FunctionNetwork, SmallModel, Sparse, air2stream, exp_hydro, hbv, kinematic_wave, level_pool, load_model,
    muskingum, muskingum_cunge
export photosynthesis, stream_oxygen, stream_temperature, two_big_leaf, two_layer_bucket
export METHODS, Options, Solution, pullback, solve
export Refused, SpecMismatch, UnknownName

end
