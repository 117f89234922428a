# Models from descriptions that other languages write.

"Hydraulics by name, from the options of a description."
const HYDRAULICS = Dict{String,Function}(
    "van_genuchten" => o -> VanGenuchten(o["entry_width"]),
    "brooks_corey" => o -> BrooksCorey(o["exponent"], o["entry_width"]),
    "gardner" => o -> Gardner(),
    "haverkamp" => o -> Haverkamp(),
)

"Models by name: a function from a description to a model."
const BUILDERS = Dict{String,Function}(
    "richards" => d -> Richards(Float64.(d["faces"]); layers=Float64.(d["layers"]), top=d["top"], bottom=d["bottom"],
        roots=get(d, "roots", nothing), face_mean=d["face_mean"],
        hydraulics=lookup(HYDRAULICS, d["hydraulics"]["name"], "soil hydraulics")(d["hydraulics"])),
)

"""
    open_model(description)

Build the model that a description names, and compare its specification with the one in the description: `name`, `spec` (digest,
parameters, forcings, fluxes), and what the model needs.
"""
function open_model(description::AbstractDict)
    m = lookup(BUILDERS, description["name"], "model")(description)
    check(spec(m), description["spec"])
    return m
end
