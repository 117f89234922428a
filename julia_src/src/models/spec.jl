# Specifications: the TOML files that every engine reads.

"""
Typical magnitudes of a state and of its storage; `lower` is where a store is empty, minus infinity for a state that is no store;
`in_cells` says that it is the state of every cell of a column, `algebraic` that it stores nothing: its rate is an equation, 0 = f(u),
`storage_scale` the typical magnitude of the terms of that.
"""
struct StateSpec
    name::Symbol
    scale::Float64
    storage_scale::Float64
    lower::Float64
    in_cells::Bool
    algebraic::Bool
end
StateSpec(name, scale, storage_scale, lower) = StateSpec(name, scale, storage_scale, lower, false, false)

"""
    ModelSpec

Names in order, and the states, of one configuration of a model; a column of cells has one state for all of them. `digest` is the
SHA-256 of the TOML file, or "" where the model has none; `in_cells` are the parameters, forcings and fluxes that have a value in each cell.
"""
struct ModelSpec
    name::String
    states::Vector{StateSpec}
    parameters::Vector{Symbol}
    forcings::Vector{Symbol}
    fluxes::Vector{Symbol}
    digest::String
    in_cells::Set{Symbol}
end
ModelSpec(name, states, parameters, forcings, fluxes, digest) =
    ModelSpec(name, states, parameters, forcings, fluxes, digest, Set{Symbol}())

"Cells of a column of `size` values; 1 where it has none."
cell_count(s::ModelSpec, size) = size - length(s.states) + 1

"How many values each flux of a column has."
flux_widths(s::ModelSpec, size) = [k in s.in_cells ? cell_count(s, size) : 1 for k in s.fluxes]

"What has a value in each cell, by a specification file."
read_in_cells(file) = Set(
    Symbol(k) for section in ("parameters", "forcings", "fluxes") for (k, x) in get(file, section, Dict{String,Any}())
    if get(x, "per", "column") == "cell"
)

"The state of each of a column's values: the states in their order, one of which may be that of all cells."
each_state(s::ModelSpec, size) = s.states[state_numbers(s, size)]
function state_numbers(s::ModelSpec, size)
    count = length(s.states)
    wide = count == 1 ? 1 : something(findfirst(x -> x.in_cells, s.states), 0)
    size == count || (wide > 0 && size > count) || throw(Refused("the model $(s.name) declares $count states and has $size"))
    return reduce(vcat, (fill(i, i == wide ? size - count + 1 : 1) for i in 1:count); init=Int[])
end

"States of a specification file, in their order."
function read_states(file, text)
    return map(ordered_names(text, "states")) do name
        given = file["states"][String(name)]
        return StateSpec(name, given["scale"], given["storage_scale"], get(given, "lower", -Inf),
            get(given, "per", "column") == "cell",
            get(given, "storage", "") == "none")
    end
end

"Folder of the Python models, each beside its specification: in the repository and in the installed Python package."
function models_folder()
    for folder in (joinpath(@__DIR__, "../../../pydiffgeo/models"), joinpath(@__DIR__, "../../../models"))
        isfile(joinpath(folder, "hbv.toml")) && return normpath(folder)
    end
    error("DiffGeo: the folder of model specifications is missing; set up the package from a complete copy of the repository")
end

"File of the specification of a model of this package."
function spec_file(name)
    for (folder, _, files) in walkdir(models_folder())
        name * ".toml" in files && return joinpath(folder, name * ".toml")
    end
    throw(SpecMismatch("there is no specification $name.toml in $(models_folder())"))
end

const SPEC_FILES = Dict{String,Tuple{Dict{String,Any},String}}()
const SPEC_LOCK = ReentrantLock() # models may be opened on several threads at once

"The specification file of a model and its SHA-256, read once."
read_spec(name) =
    lock(SPEC_LOCK) do
        get!(SPEC_FILES, name) do
            bytes = read(spec_file(name))
            return TOML.parse(String(copy(bytes))), bytes2hex(sha256(bytes))
        end
    end

"""
    constants(name)

The `[constants]` of a specification of this package as a NamedTuple, for a `const`: this package is compiled anew when the file changes.
"""
function constants(name)
    include_dependency(spec_file(name))
    return file_constants(spec_file(name))
end

"The `[constants]` of a specification file, by name."
file_constants(path) = NamedTuple(
    Symbol(k) => Float64(c["value"]) for
    (k, c) in sort!(collect(get(TOML.parsefile(path), "constants", Dict{String,Any}())); by=first)
)

"Whether a specification is one of this package."
shipped(s::ModelSpec) = lock(() -> haskey(SPEC_FILES, s.name) && last(SPEC_FILES[s.name]) == s.digest, SPEC_LOCK)

"A specification restricted to these parameters and forcings, and without some states and fluxes; the file must know them all."
function select(name, parameters, forcings, without=())
    file, digest = read_spec(name)
    for (section, names) in (("parameters", parameters), ("forcings", forcings)), n in names
        haskey(file[section], String(n)) || throw(SpecMismatch("$name.toml has no $n among its $section"))
    end
    text = read(spec_file(name), String)
    states = filter(s -> !(s.name in without), read_states(file, text))
    return ModelSpec(
        name,
        states,
        collect(Symbol, parameters),
        collect(Symbol, forcings),
        setdiff(ordered_names(text, "fluxes"), without),
        digest
    )
end

"A whole specification."
function whole_spec(name)
    file, digest = read_spec(name)
    return whole_spec(name, file, read(spec_file(name), String), digest)
end
whole_spec(name, file, text, digest) =
    ModelSpec(name, read_states(file, text), ordered_names(text, "parameters"), ordered_names(text, "forcings"),
        ordered_names(text, "fluxes"), digest, read_in_cells(file))

# TOML.parse does not keep the order of tables
ordered_names(text, section) = [Symbol(m[1]) for m in eachmatch(Regex("^\\s*\\[$section\\.(\\w+)\\]", "m"), text)]

symbols(names::Vector{String}) = Symbol.(names)
symbols(names::Vector) = Symbol[]  # TOML gives an empty list another type

"Compare with what another engine read; a difference raises SpecMismatch."
function check(spec::ModelSpec, other::Dict{String,Any})
    pairs = (
        "states" => [s.name for s in spec.states],
        "parameters" => spec.parameters,
        "forcings" => spec.forcings,
        "fluxes" => spec.fluxes
    )
    for (what, mine) in pairs
        theirs = symbols(other[what])
        theirs == mine || throw(
            SpecMismatch(
                "model $(spec.name): the engines name different $what: $(join(mine, ", ")) here, " *
                "$(join(theirs, ", ")) there; install one version of pydiffgeo"
            )
        )
    end
    if other["digest"] != spec.digest
        throw(
            SpecMismatch(
                "model $(spec.name): the engines read different files $(spec.name).toml; install one version of pydiffgeo"
            )
        )
    end
    return spec
end
