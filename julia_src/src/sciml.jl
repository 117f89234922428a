# Solvers and sensitivities of SciML by name. The extension DiffGeoSciMLExt, loaded on first use, has their code.

"Methods and sensitivities by name, and what is refused: the file that Python reads, too. This package is compiled anew when it changes."
const SCIML = let file = normpath(models_folder(), "../solvers/sciml.toml")
    include_dependency(file)
    TOML.parsefile(file)
end

"Methods of the packages OrdinaryDiffEq*."
const SCIML_METHODS = Tuple(String.(SCIML["methods"]))

"How a gradient is computed; \"discrete\" is that of this package's own methods."
const SENSITIVITIES = ("discrete", String.(SCIML["sensitivities"])...)

const SCIML_DEFAULT_RTOL = Float64(SCIML["default_rtol"])
"Loosest relative tolerance of SciML's methods."
const SCIML_RTOL = Float64(SCIML["loosest_rtol"])

"Why combinations of a method and a sensitivity are refused."
const REFUSED = Dict{Tuple{String,String},String}(
    (x["method"], s) => x["reason"] for x in SCIML["refused"]
    for s in (haskey(x, "sensitivity") ? (x["sensitivity"],) : SENSITIVITIES[2:end])
)

"Methods of either kind."
method_names() = sort!([collect(keys(METHODS)); SCIML_METHODS...])

is_sciml(method) = method in SCIML_METHODS

# ---- what the extension needs to know of a model -------------------------------------------------------------------------

"How many numbers each parameter and each forcing has in one interval: one, or one per layer."
widths(m::Model) = [ones(Int, length(spec(m).parameters)); ones(Int, length(spec(m).forcings))]
function widths(m::Richards)
    count = ones(Int, length(m.spec.parameters) + length(m.spec.forcings))
    count[1:(length(parameters(m.hydraulics))+1)] .= length(m.layers)
    return count
end

"States on which flux number `j` depends."
flux_states(m::Model, j) = 1:statesize(m)
flux_states(m::Richards, j) =
    j in (1, 2, 3, 6) ? (1:(1+ponds(m))) : j == 5 ? (statesize(m):statesize(m)) : m.roots === nothing ? (1:0) : (1:statesize(m))

# ---- the extension -------------------------------------------------------------------------------------------------------

"Packages that the extension needs, all of which `pydiffgeo julia install` provides."
const SCIML_PACKAGES = (
    "LinearAlgebra" => "37e2e46d-f89d-539d-b4ee-838fcccc9c8e",
    "SparseArrays" => "2f01184e-e22b-5df5-ae63-d93ebab69eaf",
    "SciMLBase" => "0bca4576-84f4-4d90-8ffe-ffa030f20462",
    "DiffEqBase" => "2b5f629d-d688-5b77-993f-72d75c75574e",
    "LinearSolve" => "7ed4a6bd-45f5-4d41-b270-4a48e9bafcae",
    "OrdinaryDiffEqBDF" => "6ad6398a-0878-4a85-9266-38940aa047c8",
    "OrdinaryDiffEqFIRK" => "5960d6e9-dd7a-4743-88e7-cf307b64f125",
    "OrdinaryDiffEqRosenbrock" => "43230ef6-c299-4910-a778-202eb28ce4ce",
    "OrdinaryDiffEqSDIRK" => "2d112036-d095-4a1e-ab9a-08536f3ecdbf",
    "SciMLLogging" => "a6db7da4-7206-11f0-1eab-35f2a5dbe1d1",
    "SciMLSensitivity" => "1ed8b502-d754-442c-8d5d-10ac956f44a1"
)

# asked of the newest state of the session, which the extension may have changed
sciml_loaded() = Base.invokelatest(hasmethod, sciml_forward, Tuple{Model,Inputs{Float64},SciMLOptions,Any,Any,Any})::Bool

"""
    load_sciml()

Load the packages of SciML, once; later calls return at once. Not from a thread of another language.
"""
function load_sciml()
    sciml_loaded() && return
    for (name, uuid) in SCIML_PACKAGES
        package = Base.PkgId(Base.UUID(uuid), name)
        Base.locate_package(package) === nothing &&
            throw(
                Refused(
                    "the methods $(join(SCIML_METHODS, ", ")) need the Julia package $name, which this project lacks; add it"
                )
            )
        Base.require(package)
    end
    sciml_loaded() ||
        error("DiffGeo: its extension for SciML did not load; `Base.retry_load_extensions()` says why")
    return
end

"""
    SciMLOptions(m, method, sensitivity; rtol, atol, initial_step, max_steps, checkpoints)

How to integrate with a method of SciML, and how to differentiate. `atol` is that of each of a column's values, `storage_atol` that of the
integral of a flux, in its unit times that of time.
"""
struct SciMLOptions
    method::String
    sensitivity::String
    rtol::Float64
    atol::Vector{Float64}
    storage_atol::Float64
    initial_step::Float64
    max_steps::Int
    checkpoints::Bool
end

function SciMLOptions(m::Model, method::AbstractString, sensitivity::AbstractString; rtol=SCIML_DEFAULT_RTOL, atol=nothing,
    initial_step=0.0,
    max_steps=100_000, checkpoints=false, step=0.0, other...)
    reason = refusal(method, sensitivity; step, rtol)
    isempty(reason) || throw(Refused(reason))
    reason = model_refusal(m)
    isempty(reason) || throw(Refused("$reason; choose one of $(join(sort!(collect(keys(METHODS))), ", "))"))
    s = spec(m)
    return SciMLOptions(method, sensitivity, rtol, absolute(m, rtol, atol), rtol * minimum(x -> x.storage_scale, s.states),
        initial_step, max_steps,
        checkpoints)
end

"Why a model cannot be solved by the methods of SciML, \"\" where it can."
function model_refusal(m::Model)
    reasons, s = SCIML["models"], spec(m)
    any(x -> x.algebraic, s.states) && return reasons["algebraic"]
    s.name in reasons["checked"] ||
        return replace(reasons["unchecked"], "{checked}" => join(reasons["checked"], ", "), "{name}" => s.name)
    isempty(networks(m)) || return reasons["networks"]
    part = unchecked_part(m)
    return isempty(part) ? "" : reasons[part]
end

"What of a model the methods of SciML have not been checked with: a name in the table."
unchecked_part(::Model) = ""
unchecked_part(m::Richards) = compensated(m) ? "compensated" : ponds(m) > 0 ? "surface_layer" : ""

"Why these cannot be used together, \"\" where they can."
function refusal(method, sensitivity; step=0.0, rtol=SCIML_DEFAULT_RTOL)
    sensitivity in SENSITIVITIES ||
        throw(UnknownName("unknown sensitivity \"$sensitivity\". Known: $(join(SENSITIVITIES, ", "))."))
    if !is_sciml(method)
        lookup(METHODS, method, "method")
        return sensitivity == "discrete" ? "" :
               "$method has the discrete adjoint; $sensitivity is for the methods of SciML: " *
               join(SCIML_METHODS, ", ") * "."
    end
    known = allowed(method)
    instead = isempty(known) ? "Choose another method." : "Choose the sensitivity " * join(known, " or ") * "."
    sensitivity == "discrete" && return "$method has no discrete adjoint. $instead"
    reason = get(REFUSED, (method, sensitivity), "")
    isempty(reason) || return "$method with $sensitivity: $reason. $instead"
    step > 0 && return "a fixed step is for this package's own methods, not for $method"
    rtol <= SCIML_RTOL || return "rtol = $rtol is too loose for $method, which integrates heads: at most $SCIML_RTOL"
    return ""
end

"Sensitivities that pass the check with a method of SciML."
allowed(method) = [s for s in SENSITIVITIES if s != "discrete" && !haskey(REFUSED, (method, s))]

"""
    SciMLRun

A solve between its forward and its backward pass: the state at the start of each interval and at the end, (size, interval + 1,
column), the number of intervals that each column has done, and what the extension keeps of it. The memory that `inputs` points to
belongs to the caller.
"""
struct SciMLRun
    model::Model  # of any type: the extension is compiled once for all
    inputs::Inputs{Float64}
    options::SciMLOptions
    starts::Array{Float64,3}
    done::Vector{Int}
    columns::Vector{Any}
    threads::Int
end
Base.eltype(::SciMLRun) = Float64

release(run::SciMLRun) = empty!(run.columns)

"Accepted steps of each column: those of SciML's methods cannot be taken again, and are not kept."
steps(run::SciMLRun) = [Float64[] for _ in 1:run.inputs.columns]
steps(run::Run) = [tape.steps for tape in run.tapes]

"forward(m, inputs, o::SciMLOptions, results, counts, failures; ...), in the extension."
function sciml_forward end

"Cotangents of one column, in the extension."
function sciml_backward end

function forward(m::Model, inputs::Inputs{Float64}, o::SciMLOptions, results, counts::Matrix{Int64}, failures::Matrix{Int64};
    record::Bool,
    replay=nothing, threads=0, stop=Stop())
    replay === nothing || throw(Refused("replay takes the steps of this package's own methods, not of $(o.method)"))
    load_sciml()
    return Base.invokelatest(sciml_forward, m, inputs, o, results, counts, failures; record, threads, stop)::SciMLRun
end
forward(::Model, ::Inputs{T}, o::SciMLOptions, results, counts, failures; options...) where {T} =
    throw(Refused("$(o.method) is checked in double precision only; solve in Float64"))

function backward(run::SciMLRun, seeds::Cotangents{Float64}; replay=nothing, stop=Stop())
    Base.invokelatest(sciml_backward, run, seeds, stop)
    return !stop.flag[]
end

"Options of a method of either kind."
choose(::Type{T}, m::Model, method, sensitivity; options...) where {T} =
    is_sciml(method) ? SciMLOptions(m, method, sensitivity; options...) : own_options(T, m, method, sensitivity; options...)

function own_options(::Type{T}, m, method, sensitivity; options...) where {T}
    method in keys(METHODS) || throw(UnknownName("unknown method \"$method\". Known: $(join(method_names(), ", "))."))
    reason = refusal(method, sensitivity)
    isempty(reason) || throw(Refused(reason))
    return Options{T}(m, method; options...)
end
