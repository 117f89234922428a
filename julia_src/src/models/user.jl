# Models from a user's file.

"""
    load_model(file; spec = the TOML file of the same name, cells = 0, networks = (;))

A model from a Julia file that defines `rates(u, f, p)` (see [`SmallModel`](@ref)), or, for a column of `cells` cells,
`flux(above, below, f, p)` (see [`FaceModel`](@ref)) or `rates!(out, u, f, p)` (see [`CellModel`](@ref)), and what goes with them; SVector, SMatrix, Sparse and the branch-free `vexp`, `vlog`, `power` and
`vsqrt` are in scope, and `constants`, those of the specification. `networks` are called like functions among the
parameters; the file may define its own, `networks = (; name = model)`, with models of Lux whose first weights `seeds` decide, by name. Names, units and
magnitudes are those of the specification.
"""
function load_model(file; spec=first(splitext(file)) * ".toml", cells=0, networks=(;), seeds=Dict{String,Int}())
    isfile(file) || throw(UnknownName("there is no file $file"))
    names = file_spec(spec)
    scope = Module(Symbol(first(splitext(basename(file)))))
    Core.eval(scope, quote
        using DiffGeo: Sparse, power, vexp, vlog, vsqrt
        using DiffGeo.StaticArrays: SMatrix, SVector
        include(path) = Base.include($scope, path)
        const constants = $(file_constants(spec))
    end)
    Base.include(scope, abspath(file))
    has(name) = Base.invokelatest(isdefined, scope, name)
    get_(name) = Base.invokelatest(getglobal, scope, name)
    own = own_networks(has(:networks) ? get_(:networks) : (;), spec, seeds)
    both = intersect(keys(own), keys(networks))
    isempty(both) ||
        throw(Refused("$(basename(file)) defines the network $(join(both, ", ")) itself; leave it out of those that are given"))
    # in the order of the specification, whose weights come in that order
    order = ordered_names(read(spec, String), "closures")
    all_networks = merge(networks, own)
    networks = NamedTuple(
        k => all_networks[k] for k in sort!(collect(keys(all_networks)); by=k -> something(findfirst(==(k), order), 0))
    )
    given(pairs...) = NamedTuple(as => get_(name) for (name, as) in pairs if has(name))
    if has(:rates!) || has(:flux)
        isempty(networks) || throw(Refused("networks are for models with a few states, not for a column of cells"))
        cells >= 2 || throw(Refused("$(basename(file)) is a column of cells: give their number, cells = ..."))
        has(:flux) &&
            return FaceModel(names, cells, get_(:flux); given((k => k for k in (:inflow, :outflow, :source, :storage))...)...)
        return CellModel(names, cells, get_(:rates!); given(:fluxes! => :fluxes!, :storage => :storage)...)
    end
    has(:rates) ||
        throw(Refused("$(basename(file)) defines neither rates(u, f, p), nor rates!(out, u, f, p) or flux(above, below, f, p)"))
    size = length(TOML.parsefile(spec)["states"])
    size <= MOST_STATES || throw(Refused("$size states are too many for a full Jacobian; at most $MOST_STATES"))
    optional = (k => k for k in (:fluxes, :storage, :prepare, :jacobian, :linearise, :guess))
    return SmallModel{size}(names, get_(:rates); given(optional...)..., networks)
end

"Networks that a file defines, by the inputs that its specification names."
function own_networks(models::NamedTuple, spec, seeds)
    known = get(TOML.parsefile(spec), "closures", Dict{String,Any}())
    return map(keys(models), Tuple(models)) do k, model
        haskey(known, String(k)) ||
            throw(UnknownName("$(basename(spec)) has no [closures.$k], which the Julia file defines"))
        k => Base.invokelatest(as_network, model, length(known[String(k)]["inputs"]); seed=get(seeds, String(k), 0))
    end |> NamedTuple
end

const MOST_STATES = 20  # static matrices beyond take minutes to compile

"Specification of a file, with everything that it names."
function file_spec(path)
    isfile(path) || throw(UnknownName("there is no specification $path"))
    file, text = TOML.parsefile(path), read(path, String)
    return whole_spec(file["name"], file, text, bytes2hex(sha256(text)))
end
