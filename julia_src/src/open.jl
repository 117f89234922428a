# Models from descriptions that other languages write.

"Hydraulics by name, from the options of a description."
const HYDRAULICS = Dict{String,Function}(
    "van_genuchten" => o -> VanGenuchten(o["entry_width"]::Float64),
    "van_genuchten_vogel" => o -> VanGenuchtenVogel(o["entry_width"]::Float64),
    "brooks_corey" => o -> BrooksCorey(Symbol(o["conductivity"]::String), o["entry_width"]::Float64),
    "gardner" => o -> Gardner(),
    "haverkamp" => o -> Haverkamp(o["entry_width"]::Float64)
)

"Models by name: a function from a description to a model."
const BUILDERS = Dict{String,Function}(
    "richards" => d -> open_richards(d, d["hydraulics"]::Dict{String,Any}),
    "hbv" => d -> open_slots((; x...) -> hbv(; melt_threshold=get(d, "melt_threshold", false)::Bool, x...), d),
    "exp_hydro" => d -> open_slots(exp_hydro, d),
    "two_layer_bucket" => d -> two_layer_bucket(),
    "muskingum" => d -> muskingum(; positive=d["positive"]::Bool),
    "muskingum_cunge" => d -> muskingum_cunge(; section=d["section"]::String),
    "kinematic_wave" => d -> kinematic_wave(; section=d["section"]::String),
    "level_pool" => d -> level_pool(),
    "air2stream" => d -> open_slots((; x...) -> air2stream(; version=d["version"]::Int, x...), d),
    "stream_oxygen" => d -> open_slots(stream_oxygen, d),
    "stream_temperature" => d -> open_slots((; x...) -> stream_temperature(; exchange=d["exchange"]::String, x...), d),
    "photosynthesis" => d -> open_leaf(photosynthesis, d),
    "two_big_leaf" =>
        d -> open_leaf((; x...) -> two_big_leaf(; friction=d["friction"]::String, light=d["light"]::String, x...), d),
    "user" => d -> open_user(d)
)

"A leaf, or a canopy of leaves, with the options of the leaf."
function open_leaf(build, d)
    given =
        (:pathway, :stomata, :mesophyll, :energy_balance, :co2_at, :humidity_at, :kinetics, :ratios, :product_limit, :c3, :c4)
    return open_slots((; x...) -> build(; (k => d[String(k)] for k in given)..., x...), d)
end

"A model from a user's file, which must define the networks named in `own`, each with the seed of its first weights."
function open_user(d)
    m = load_model(
        d["file"];
        spec=d["spec_file"],
        cells=d["cells"],
        networks=open_networks(get(d, "networks", [])),
        seeds=get(d, "own", Dict{String,Any}())
    )
    for k in keys(get(d, "own", Dict{String,Any}()))
        haskey(networks(m), Symbol(k)) || throw(
            Refused("$(basename(d["file"])) defines no network $k: write networks = (; $k = ...), or give a NeuralClosure")
        )
    end
    return m
end

"Networks in the order of a description."
open_networks(list) = NamedTuple(
    Symbol(n["name"]) => Network(n["widths"], n["activation"]; low=get(n, "low", NaN), high=get(n, "high", NaN)) for n in list
)

"A built-in model with networks in its slots."
function open_slots(build, d)
    list = get(d, "networks", [])
    return build(; networks=open_networks(list), residual=[Symbol(n["name"]) for n in list if n["residual"]])
end

# the types are asserted so that nothing here is compiled anew at every start
function open_richards(d, h::Dict)
    formula = dynamic(lookup(HYDRAULICS, h["name"]::String, "soil hydraulics"))(h)
    isempty(get(d, "networks", [])) && return dynamic(open_richards)(d, formula)
    return dynamic(open_richards)(d, dynamic(open_slots)((; x...) -> Learned(formula; x...), d))
end
open_richards(d, hydraulics::SoilHydraulics) =
    Richards(d["faces"]::Vector{Float64}; layers=d["layers"]::Vector{Float64}, top=d["top"]::String,
        bottom=d["bottom"]::String, roots=open_roots(get(d, "roots", nothing)), face_mean=d["face_mean"]::String, hydraulics)

open_roots(::Nothing) = nothing
function open_roots(d::Dict{String,Any})
    name, options = d["profile"]::String, (demand_dependent=d["demand_dependent"]::Bool, compensated=d["compensated"]::Bool)
    return name == "given" ? RootUptake(d["density"]::Vector{Float64}; options...) : RootUptake(name; options...)
end

"""
    open_model(description)

Build the model of the `kind` that a description names, and compare its specification with the one there: `spec` (digest,
parameters, forcings, fluxes), and what the model needs.
"""
function open_model(description::Dict{String,Any})
    m = dynamic(lookup(BUILDERS, description["kind"]::String, "model"))(description)::Model
    check(spec(m)::ModelSpec, description["spec"]::Dict{String,Any})
    return m
end
