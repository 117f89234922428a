# Typed errors; every message names the input and the remedy.

"A name that nothing of this package knows."
struct UnknownName <: Exception
    message::String
end

"A specification that another engine reads differently."
struct SpecMismatch <: Exception
    message::String
end

"A combination of model, solver and sensitivity that gives wrong gradients, or an input that cannot be used."
struct Refused <: Exception
    message::String
end

Base.showerror(io::IO, e::Union{UnknownName,SpecMismatch,Refused}) = print(io, nameof(typeof(e)), ": ", e.message)

"The value under `name`, or an UnknownName that lists the known names."
function lookup(known::Dict{String}, name::AbstractString, what)
    haskey(known, name) && return known[name]
    throw(UnknownName("unknown $what \"$name\". Known: $(join(sort!(collect(keys(known))), ", "))."))
end
