# Specifications: the TOML files that every engine reads.

"""
    ModelSpec

Names in order, and typical magnitudes of state and storage, of one configuration of a model. `lower` is where a store is empty,
minus infinity for states that are no stores. `digest` is the SHA-256 of the TOML file, or "" where the model has none.
"""
struct ModelSpec
    name::String
    parameters::Vector{Symbol}
    forcings::Vector{Symbol}
    fluxes::Vector{Symbol}
    scale::Float64
    storage_scale::Float64
    digest::String
    lower::Float64
end

ModelSpec(name, parameters, forcings, fluxes, scale, storage_scale, digest) =
    ModelSpec(name, parameters, forcings, fluxes, scale, storage_scale, digest, -Inf)

"Folder of the specifications: beside these sources in the repository and in the installed Python package."
function spec_folder()
    here = @__DIR__
    for folder in (joinpath(here, "../../../pydiffgeo/models/specs"), joinpath(here, "../../../models/specs"))
        isdir(folder) && return normpath(folder)
    end
    error("DiffGeo: the folder of model specifications is missing; set up the package from a complete copy of the repository")
end

const SPEC_FILES = Dict{String,Tuple{Dict{String,Any},String}}()

"The specification file of a model and its SHA-256, read once."
read_spec(name) = get!(SPEC_FILES, name) do
    bytes = read(joinpath(spec_folder(), name * ".toml"))
    return TOML.parse(String(copy(bytes))), bytes2hex(sha256(bytes))
end

"A specification restricted to these parameters and forcings; the file must know them all."
function select(name, parameters, forcings)
    file, digest = read_spec(name)
    for (section, names) in (("parameters", parameters), ("forcings", forcings)), n in names
        haskey(file[section], String(n)) || throw(SpecMismatch("$name.toml has no $n among its $section"))
    end
    state = only(values(file["states"]))
    return ModelSpec(name, collect(Symbol, parameters), collect(Symbol, forcings), ordered_names(read(joinpath(spec_folder(), name * ".toml"), String), "fluxes"),
        state["scale"], state["storage_scale"], digest)
end

"A whole specification; the magnitudes are those of its first state."
function whole_spec(name)
    file, digest = read_spec(name)
    text = read(joinpath(spec_folder(), name * ".toml"), String)
    state = file["states"][String(first(ordered_names(text, "states")))]
    return ModelSpec(name, ordered_names(text, "parameters"), ordered_names(text, "forcings"), ordered_names(text, "fluxes"),
        state["scale"], state["storage_scale"], digest, get(state, "lower", -Inf))
end

# TOML.parse does not keep the order of tables
ordered_names(text, section) = [Symbol(m[1]) for m in eachmatch(Regex("^\\s*\\[$section\\.(\\w+)\\]", "m"), text)]

symbols(names::Vector{String}) = Symbol.(names)
symbols(names::Vector) = Symbol[]  # TOML gives an empty list another type

"Compare with what another engine read; a difference raises SpecMismatch."
function check(spec::ModelSpec, other::Dict{String,Any})
    pairs = ("parameters" => spec.parameters, "forcings" => spec.forcings, "fluxes" => spec.fluxes)
    for (what, mine) in pairs
        theirs = symbols(other[what])
        theirs == mine || throw(SpecMismatch("model $(spec.name): the engines name different $what: $(join(mine, ", ")) here, " *
                                             "$(join(theirs, ", ")) there; install one version of pydiffgeo"))
    end
    if other["digest"] != spec.digest
        throw(SpecMismatch("model $(spec.name): the engines read different files $(spec.name).toml; install one version of pydiffgeo"))
    end
    return spec
end
